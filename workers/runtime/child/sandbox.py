"""The sandbox of a child process, built from kernel features.

Where the kernel lacks a feature (or forbids it to us) the others still hold; `confine` returns those in force. Every
child reads a stranger's graph, weights or rows, so all have the same: no new privileges, no capabilities, no network,
no sockets, no other processes or programs; read access to Python's files, the system's libraries and its inputs only;
write access to its folders only; limits on memory and files.
"""

import ctypes
import os
import platform
import resource
import socket
import struct
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from workers.runtime.child import landlock
from workers.runtime.child.seccomp import deny_calls
from workers.runtime.child.system_calls import calls_of_this_machine

THREADS: Final = 4096
"""Most threads of a child, where its user namespace lets us count them."""

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
_CLONE_NEWNET = 0x40000000
_CLONE_NEWUSER = 0x10000000
_CAPABILITIES: Final = 64
_SYSTEM: Final = (
    *("/usr", "/lib", "/lib64", "/bin"),  # shared libraries, time zones
    "/etc/ld.so.cache",  # where the loader finds them
    "/etc/localtime",  # times in logs
    *("/dev/urandom", "/dev/random", "/dev/zero"),
    "/proc/self",  # its own memory (`VmHWM`), maps and descriptors; of no other process
    *("/proc/cpuinfo", "/proc/meminfo"),  # torch, oneDNN and ONNX Runtime choose kernels, jobs name the processor
    "/proc/sys/vm/overcommit_memory",  # malloc
    "/sys/devices/system",  # processors and caches
    "/sys/kernel/mm/transparent_hugepage",  # malloc, torch
    "/sys/fs/cgroup",  # the memory that is free
)
_GPU: Final = ("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/proc/sys/vm", "/sys")
"""What the driver of a GPU reads besides."""
_GPU_DEVICES: Final = "nvidia*"


@dataclass(frozen=True)
class Allowed:
    """What a child may use. It writes below `folder`, where its temporary files go, and below `writable`, and reads
    `readable` besides. Where a limit is None there is none. `gpu`: it uses one, whose driver opens local sockets and
    devices.
    """

    folder: Path
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    memory_bytes: int | None = None
    cpu_seconds: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None
    gpu: bool = False


def _no_new_privileges() -> bool:
    return bool(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def _no_network() -> bool:
    """A network namespace without interfaces. An unprivileged user needs a user namespace as well, in which the number
    of threads can be limited too: elsewhere the limit would count all processes of the user.
    """
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return True
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    _limit(resource.RLIMIT_NPROC, THREADS)
    return True


def _code(private: Path) -> list[Path]:
    """Where Python finds code, without folders that contain `private` (the data directory may be in a checkout), and
    without the working directory, which an empty entry of `sys.path` stands for.
    """
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    folders |= {Path(entry).resolve() for entry in sys.path if entry}
    kept = [path for path in folders if not private.is_relative_to(path)]
    for package in ("app", "workers"):
        spec = find_spec(package)
        kept += [Path(location) for location in (spec.submodule_search_locations or ())] if spec is not None else []
    return kept


def _no_capabilities() -> bool:
    """Drop all capabilities, also those that unsharing gave, and those that a program could have: some bypass Landlock
    (CAP_PERFMON reads any process's environment). Source: capset(2), linux/capability.h.
    """
    for capability in range(_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # an error for those that do not exist, or are not ours
    header = struct.pack("<Ii", 0x20080522, 0)
    none = bytes(24)
    return bool(_libc.capset(ctypes.create_string_buffer(header, 8), ctypes.create_string_buffer(none, 24)) == 0)


def _limit(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (bound, bound))


def _limits(allowed: Allowed) -> None:
    _limit(resource.RLIMIT_CORE, 0)
    limits = {
        resource.RLIMIT_AS: allowed.memory_bytes,
        resource.RLIMIT_CPU: allowed.cpu_seconds,
        resource.RLIMIT_FSIZE: allowed.file_bytes,
        resource.RLIMIT_NOFILE: allowed.open_files,
    }
    for kind, wanted in limits.items():
        if wanted is not None:
            _limit(kind, wanted)


def confine(allowed: Allowed) -> set[str]:
    """From now on this process can use what is `allowed` only, and not communicate, except over what is open already.
    Call it before the first thread: threads inherit it, they do not share it.
    """
    in_force = {"limits"}
    _limits(allowed)
    os.environ["TMPDIR"] = tempfile.tempdir = str(allowed.folder)  # the module may have looked it up before the fork
    if _no_new_privileges():
        in_force.add("no_new_privileges")
    if _no_network():
        in_force.add("no_network")
    if _no_capabilities():
        in_force.add("no_capabilities")
    if landlock.restrict(*_files(allowed)):
        in_force.add("few_files")
    if deny_calls(local_sockets=allowed.gpu):  # last: it denies calls that the steps above need
        in_force.add("few_calls")
    return in_force


def _files(allowed: Allowed) -> tuple[list[Path], list[Path]]:
    """(readable, writable)"""
    system = (*_SYSTEM, *(_GPU if allowed.gpu else ()))
    devices = Path("/dev").glob(_GPU_DEVICES) if allowed.gpu else ()
    readable = [Path(path) for path in system] + _code(allowed.folder.resolve()) + list(allowed.readable)
    return readable, [allowed.folder, *allowed.writable, Path(os.devnull), *devices]


def lacking() -> list[str]:
    """What this machine does not keep a child from, for the worker's log."""
    found = []
    if landlock.version() < 1:
        found.append(
            "expected Landlock, found a kernel without it: processes of jobs can read every file of the worker's user; "
            "use Linux 5.13 or newer with Landlock among its security modules, or a user of its own for the worker"
        )
    if calls_of_this_machine() is None:
        found.append(
            f"expected x86_64 or aarch64, found {platform.machine()}: no system calls are denied to processes of jobs; "
            "run workers on one of these"
        )
    return found


def has_network() -> bool:
    """Whether a socket to this machine can be opened; for tests of the sandbox."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        return True
    return False
