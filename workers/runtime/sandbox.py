"""The sandbox of an inspection: whatever an upload makes a parser do, it can reach nothing.

No new privileges, no network, no writing outside the attempt's folder, bounds on memory, processor time, files.
Each means is the kernel's own; where the kernel lacks one (or forbids it to us) the others still hold. `confine`
returns those that are in force.
"""

import ctypes
import os
import resource
import socket
import struct
from contextlib import suppress
from pathlib import Path

CPU_SECONDS = 900
FILE_BYTES = 128 << 30
OPEN_FILES = 512

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNET = 0x40000000
_CLONE_NEWUSER = 0x10000000
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION = 1
# Landlock's rights to change files: write, remove, make (first ABI); refer and truncate came later.
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_CHANGING = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))


def _no_new_privileges() -> bool:
    return bool(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)


def _no_network() -> bool:
    """A network namespace without any interface; an ordinary user needs one of users as well."""
    if _libc.unshare(_CLONE_NEWNET) == 0:
        return True
    return bool(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _write_only_below(folder: Path) -> bool:
    """Landlock: files may be read as before, and changed below `folder` alone."""
    version = _libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return False
    handled = _CHANGING | (_TRUNCATE if version >= 3 else 0)
    rights = ctypes.create_string_buffer(struct.pack("<Q", handled), 8)
    rules = _libc.syscall(_LANDLOCK_CREATE, rights, 8, 0)
    if rules < 0:
        return False
    place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        # A device that swallows everything may be written to: libraries open it.
        allowed = [(place, handled)]
        with suppress(OSError):
            allowed.append((os.open(os.devnull, os.O_PATH | os.O_CLOEXEC), _WRITE_FILE))
        for descriptor, permitted in allowed:
            rule = ctypes.create_string_buffer(struct.pack("<Qi", permitted, descriptor), 12)
            if _libc.syscall(_LANDLOCK_ADD, rules, 1, rule, 0):
                return False
        return bool(_libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(place)
        os.close(rules)


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


def confine(folder: Path, memory_bytes: int | None) -> set[str]:
    """Put this process, for good, where it can write below `folder` only and talk to no one."""
    in_force = {"limits"}
    _limits(memory_bytes)
    if _no_new_privileges():
        in_force.add("no_new_privileges")
    if _no_network():
        in_force.add("no_network")
    if _write_only_below(folder):
        in_force.add("write_only_below")
    return in_force


def has_network() -> bool:
    """Whether a socket to this very machine could be opened: for tests of the sandbox."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("127.0.0.1", 9))
        return True
    return False
