"""How a process ends with its parent or its lease: by the kernel, without threads or Python code."""

import ctypes
import os
import signal

from workers.runtime.clock import host_clock

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel send SIGKILL when the parent (process `parent`) dies; at once if it is dead already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def die_at(deadline: float) -> None:
    """Have SIGALRM, which nothing handles, end this process at `deadline` (host clock). Replaces an earlier deadline.

    The kernel's timer also ends a process that is busy in C code or stopped.
    """
    signal.setitimer(signal.ITIMER_REAL, max(deadline - host_clock(), 0.001))


def never_die() -> None:
    """Remove the deadline. The supervisor kills this process if it takes too long, the kernel if the parent dies."""
    signal.setitimer(signal.ITIMER_REAL, 0.0)
