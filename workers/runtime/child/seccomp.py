"""System calls that the kernel denies to a child (seccomp, classic BPF, by ctypes).

Sources: seccomp(2), linux/filter.h, linux/seccomp.h, and the system call tables of x86-64 and arm64.
"""

import ctypes
import errno
import platform
import socket
import struct
from dataclasses import dataclass
from typing import Final

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; little endian, low words
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000


@dataclass(frozen=True)
class _Table:
    """System call numbers of one architecture."""

    architecture: int
    socket: int
    clone: int
    clone3: int
    io_uring_setup: int
    processes: tuple[int, ...]  # fork, vfork, execve, execveat
    privileged: tuple[int, ...]  # ptrace, process_vm_*, bpf, keyctl, mounts, namespaces, modules, perf, userfaultfd


_TABLES: Final = {
    "x86_64": _Table(
        architecture=0xC000003E,
        socket=41,
        clone=56,
        clone3=435,
        io_uring_setup=425,
        processes=(57, 58, 59, 322),
        privileged=(101, 310, 311, 321, 250, 165, 166, 155, 308, 272, 246, 175, 313, 298, 323),
    ),
    "aarch64": _Table(
        architecture=0xC00000B7,
        socket=198,
        clone=220,
        clone3=435,
        io_uring_setup=425,
        processes=(221, 281),
        privileged=(117, 270, 271, 280, 219, 40, 39, 41, 268, 97, 104, 105, 273, 241, 282),
    ),
}
_INTERNET: Final = (int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_PACKET), int(socket.AF_VSOCK))
_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _deny(error: int = errno.EPERM) -> bytes:
    return _instruction(_RETURN, _ERRNO | error)


def _number_is(number: int, then: bytes) -> bytes:
    """Run `then` for one system call; its number stays loaded for the instructions after it."""
    return _instruction(_EQUAL, number, 0, len(then) // 8) + then


def _preamble(table: _Table) -> bytes:
    """Kill the process for any other architecture: the numbers differ."""
    program = _instruction(_LOAD, _ARCHITECTURE)
    program += _instruction(_EQUAL, table.architecture, 1, 0) + _instruction(_RETURN, _KILL)
    program += _instruction(_LOAD, _NUMBER)
    return program + _instruction(_AT_LEAST, _X32, 0, 1) + _deny()


def _no_internet(table: _Table) -> bytes:
    """Deny sockets of internet families; local ones are allowed because GPU drivers use them."""
    body = _instruction(_LOAD, _FIRST_ARGUMENT)
    for family in _INTERNET:
        body += _instruction(_EQUAL, family, 0, 1) + _deny(errno.EACCES)
    return _number_is(table.socket, body + _instruction(_RETURN, _ALLOW))


def _only_threads(table: _Table) -> bytes:
    """Deny sockets, processes, other programs and privileged calls; allow threads."""
    program = _number_is(table.socket, _deny(errno.EACCES))
    for number in (*table.processes, *table.privileged):
        program += _number_is(number, _deny())
    # A filter cannot read clone3's flags, which are behind a pointer. With ENOSYS, libraries fall back to clone.
    program += _number_is(table.clone3, _deny(errno.ENOSYS))
    thread = _instruction(_LOAD, _FIRST_ARGUMENT) + _instruction(_ANY_BIT, _CLONE_THREAD, 1, 0)
    return program + _number_is(table.clone, thread + _deny() + _instruction(_RETURN, _ALLOW))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def deny_calls(*, threads_only: bool) -> bool:
    """Install the filter for this thread and those that it starts: no internet, and with `threads_only` no sockets,
    processes or programs at all. Needs no_new_privs. False if kernel or architecture do not support it.
    """
    table = _TABLES.get(platform.machine())
    if table is None:
        return False
    program = _preamble(table) + _number_is(table.io_uring_setup, _deny(errno.ENOSYS))  # it would bypass the filter
    program += _only_threads(table) if threads_only else _no_internet(table)
    program += _instruction(_RETURN, _ALLOW)
    code = ctypes.create_string_buffer(program, len(program))
    compiled = _Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    return bool(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(compiled), 0, 0) == 0)
