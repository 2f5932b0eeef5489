"""The sandbox of a child. Each means is the kernel's own; where the kernel lacks one (or forbids it to us) the
others still hold. The functions return those that are in force.

Every child: no new privileges, no internet. An inspection, which parses what a stranger has sent: besides no
capability, no socket of any kind, no other process or program; to read Python's files, the system's libraries and
its own input, to change what is below its attempt's folder, no other file; bounds on memory, processor time, files.
"""

import ctypes
import os
import resource
import socket
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from workers.runtime import landlock
from workers.runtime.seccomp import refuse_calls

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
    """A network namespace without any interface; an ordinary user needs one of users as well."""
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return True
    return bool(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _code(private: Path) -> list[Path]:
    """Where Python finds code, without any folder that `private` lies in (a checkout may hold the data directory)."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    found |= {Path(entry).resolve() for entry in sys.path}
    kept = [path for path in found if not private.is_relative_to(path)]
    for package in ("app", "workers"):
        spec = find_spec(package)
        kept += [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    return kept


def _no_capabilities() -> bool:
    """Root without its powers, also those that unsharing gave: some look past Landlock (CAP_PERFMON reads any
    process's environment). Source: capset(2), linux/capability.h.
    """
    header = struct.pack("<Ii", 0x20080522, 0)
    nothing = bytes(24)
    return bool(_libc.capset(ctypes.create_string_buffer(header, 8), ctypes.create_string_buffer(nothing, 24)) == 0)


def _limits(memory_bytes: int | None) -> None:
    limits = {
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if memory_bytes is not None:
        limits[resource.RLIMIT_AS] = memory_bytes
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (bound, bound))


def confine_training() -> set[str]:
    """What every child gets. Before the first thread: confinement is inherited, not shared."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    in_force = {"no_new_privileges"} if _no_new_privileges() else set()
    return in_force | ({"no_internet"} if refuse_calls(threads_only=False) else set())


def confine_inspection(folder: Path, inputs: Iterable[Path], memory_bytes: int | None) -> set[str]:
    """Put this process, for good, where it can read `inputs`, write below `folder` and talk to no one."""
    in_force = {"limits"}
    _limits(memory_bytes)
    os.environ["TMPDIR"] = str(folder)
    if _no_new_privileges():
        in_force.add("no_new_privileges")
    if _no_network():
        in_force.add("no_network")
    if _no_capabilities():
        in_force.add("no_capabilities")
    readable = [Path(place) for place in _SYSTEM] + _code(folder.resolve()) + list(inputs)
    if landlock.restrict(readable, [folder, Path(os.devnull)]):
        in_force.add("few_files")
    if refuse_calls(threads_only=True):  # last: it refuses what the steps above need
        in_force.add("few_calls")
    return in_force


def has_network() -> bool:
    """Whether a socket to this very machine could be opened: for tests of the sandbox."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        return True
    return False
