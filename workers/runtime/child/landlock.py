"""Landlock by ctypes: permanently restricts which files a process may read and change.

Source: landlock(7), linux/landlock.h. It also prevents the process from inspecting others (ptrace, /proc/N/environ)
and, since version 6, from sending them signals.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_BENEATH = 1
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_AND_REMOVE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # since versions 2 and 3
_SCOPES_SINCE, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11
_FOR_FILES: Final = _WRITE | _READ | _TRUNCATE
_PROCESSES: Final = Path("/proc")
_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The kernel's version of Landlock; below 1 if it has none."""
    return int(_libc.syscall(_CREATE, None, 0, _VERSION))


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """From now on, files below `readable` can be read, those below `writable` read and changed, and no others; no file
    can be executed as a program.

    Paths that do not exist are skipped. Returns False, and restricts nothing, if the kernel has no Landlock.
    """
    has = version()
    if has < 1:
        return False
    changing = _WRITE | _MAKE_AND_REMOVE | (_REFER if has >= 2 else 0) | (_TRUNCATE if has >= 3 else 0)
    reading = _READ | _LIST
    handled = reading | changing | _EXECUTE
    scopes = _ABSTRACT_SOCKETS_AND_SIGNALS if has >= _SCOPES_SINCE else 0
    attributes = struct.pack("<QQQ", handled, 0, scopes) if scopes else struct.pack("<Q", handled)
    rules = _libc.syscall(_CREATE, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0)
    if rules < 0:
        return False
    try:
        added = [_add(rules, path, reading) for path in readable] + [
            _add(rules, p, reading | changing) for p in writable
        ]
        return all(added) and bool(_libc.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _add(rules: int, path: Path, rights: int) -> bool:
    with suppress(OSError):
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            allowed = rights if path.is_dir() else rights & _FOR_FILES
            rule = ctypes.create_string_buffer(struct.pack("<Qi", allowed, parent), 12)
            return bool(_libc.syscall(_ADD, rules, _BENEATH, rule, 0) == 0)
        finally:
            # A rule is bound to an inode, and /proc makes those of a process anew once nothing holds them.
            if not path.is_relative_to(_PROCESSES):
                os.close(parent)
    return True
