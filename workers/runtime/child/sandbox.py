"""The sandbox of a child process, built from kernel features.

Where the kernel lacks a feature (or forbids it to us) the others still hold. The functions return those in force.

Every child: no new privileges, no internet. Inspections and prediction sessions parse untrusted files, so in addition:
no capabilities, no sockets, no other processes or programs; read access to Python's files, the system's libraries and
their input only; write access below their folder only; limits on memory, processor time and files.
"""

import ctypes
import os
import resource
import socket
import struct
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from workers.runtime.child import landlock
from workers.runtime.child.seccomp import deny_calls

CPU_SECONDS = 900
FILE_BYTES = 128 << 30
OPEN_FILES = 512

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNET = 0x40000000
_CLONE_NEWUSER = 0x10000000
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev/urandom", "/dev/random", "/dev/zero")


def _no_new_privileges() -> bool:
    return bool(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def _no_network() -> bool:
    """A network namespace without interfaces; an unprivileged user needs a user namespace as well."""
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return True
    return bool(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _code(private: Path) -> list[Path]:
    """Where Python finds code, without folders that contain `private` (the data directory may be in a checkout)."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    folders |= {Path(entry).resolve() for entry in sys.path}
    kept = [path for path in folders if not private.is_relative_to(path)]
    for package in ("app", "workers"):
        spec = find_spec(package)
        kept += [Path(location) for location in (spec.submodule_search_locations or ())] if spec is not None else []
    return kept


def _no_capabilities() -> bool:
    """Drop all capabilities, also those that unsharing gave: some bypass Landlock (CAP_PERFMON reads any process's
    environment). Source: capset(2), linux/capability.h.
    """
    header = struct.pack("<Ii", 0x20080522, 0)
    none = bytes(24)
    return bool(_libc.capset(ctypes.create_string_buffer(header, 8), ctypes.create_string_buffer(none, 24)) == 0)


def _limits(memory_bytes: int | None, cpu_seconds: int | None) -> None:
    limits = {
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if cpu_seconds is not None:
        limits[resource.RLIMIT_CPU] = cpu_seconds
    if memory_bytes is not None:
        limits[resource.RLIMIT_AS] = memory_bytes
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (bound, bound))


def confine_training() -> set[str]:
    """The sandbox of every child. Call it before the first thread: threads inherit it, they do not share it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    in_force = {"no_new_privileges"} if _no_new_privileges() else set()
    return in_force | ({"no_internet"} if deny_calls(threads_only=False) else set())


def confine_untrusted(
    folder: Path, inputs: Iterable[Path], memory_bytes: int | None, cpu_seconds: int | None = CPU_SECONDS
) -> set[str]:
    """From now on this process can only read `inputs`, write below `folder`, and not communicate, except over what is
    open already.
    """
    in_force = {"limits"}
    _limits(memory_bytes, cpu_seconds)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)  # the module may have looked it up before the fork
    if _no_new_privileges():
        in_force.add("no_new_privileges")
    if _no_network():
        in_force.add("no_network")
    if _no_capabilities():
        in_force.add("no_capabilities")
    readable = [Path(path) for path in _SYSTEM] + _code(folder.resolve()) + list(inputs)
    if landlock.restrict(readable, [folder, Path(os.devnull)]):
        in_force.add("few_files")
    if deny_calls(threads_only=True):  # last: it denies calls that the steps above need
        in_force.add("few_calls")
    return in_force


def has_network() -> bool:
    """Whether a socket to this machine can be opened; for tests of the sandbox."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        return True
    return False
