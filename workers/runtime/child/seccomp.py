"""A filter of system calls, by which the kernel denies some to a child (seccomp, classic BPF, by ctypes).

Sources: seccomp(2), linux/filter.h, linux/seccomp.h.
"""

import ctypes
import errno
import os
import socket
import struct

from workers.runtime.child.system_calls import NEWER, Calls, calls_of_this_machine

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets in struct seccomp_data; little endian, low words.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
_THIS_PROCESS = 0
_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _deny(error: int = errno.EPERM) -> bytes:
    return _instruction(_RETURN, _ERRNO | error)


def _number_is(number: int, then: bytes) -> bytes:
    """Run `then` for one system call; its number stays loaded for the instructions after it."""
    return _instruction(_EQUAL, number, 0, len(then) // 8) + then


def _preamble(calls: Calls) -> bytes:
    """Kill the process for any other architecture: the numbers differ. Calls that are not known do not exist."""
    program = _instruction(_LOAD, _ARCHITECTURE)
    program += _instruction(_EQUAL, calls.audit, 1, 0) + _instruction(_RETURN, _KILL)
    program += _instruction(_LOAD, _NUMBER)
    program += _instruction(_AT_LEAST, _X32, 0, 1) + _deny()
    return program + _instruction(_AT_LEAST, NEWER, 0, 1) + _deny(errno.ENOSYS)


def _first_argument(number: int, allowed: tuple[int, ...], error: int) -> bytes:
    """Allow a call with these first arguments alone."""
    body = _instruction(_LOAD, _FIRST_ARGUMENT)
    for value in allowed:
        body += _instruction(_EQUAL, value, 0, 1) + _instruction(_RETURN, _ALLOW)
    return _number_is(number, body + _deny(error))


def _second_argument(number: int, denied: tuple[int, ...]) -> bytes:
    """Deny a call with these second arguments alone."""
    body = _instruction(_LOAD, _SECOND_ARGUMENT)
    for value in denied:
        body += _instruction(_EQUAL, value, 0, 1) + _deny()
    return _number_is(number, body + _instruction(_RETURN, _ALLOW))


def _threads_only(calls: Calls) -> bytes:
    thread = _instruction(_LOAD, _FIRST_ARGUMENT) + _instruction(_ANY_BIT, _CLONE_THREAD, 1, 0)
    return _number_is(calls.clone, thread + _deny() + _instruction(_RETURN, _ALLOW))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def deny_calls(*, local_sockets: bool = False) -> bool:
    """Install the filter for this thread and those that it starts: no processes but this one, no programs, no sockets
    (but local ones on request), and nothing else in `system_calls.DENIED`. Needs no_new_privs. False if kernel or
    architecture do not support it.
    """
    calls = calls_of_this_machine()
    if calls is None:
        return False
    program = _preamble(calls)
    for number in calls.absent:
        program += _number_is(number, _deny(errno.ENOSYS))
    for number in calls.denied:
        program += _number_is(number, _deny())
    for number in calls.own_process:
        program += _first_argument(number, (_THIS_PROCESS, os.getpid()), errno.EPERM)
    for number, seconds in calls.owners:
        program += _second_argument(number, seconds)
    families = (int(socket.AF_UNIX),) if local_sockets else ()
    program += _first_argument(calls.socket, families, errno.EACCES) + _threads_only(calls)
    program += _instruction(_RETURN, _ALLOW)
    code = ctypes.create_string_buffer(program, len(program))
    compiled = _Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    return bool(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(compiled), 0, 0) == 0)
