"""What keeps a process from outliving what it depends on: Linux's own means, no threads, no trust in Python."""

import ctypes
import os
import signal
import time

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def host_clock() -> float:
    """Seconds by the clock that all processes of a host share, that nobody can set and that counts its sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process as soon as its parent (process `parent`) dies; at once if it is dead already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def live_until(moment: float) -> None:
    """SIGALRM, which nobody handles, ends this process at `moment` of the host's clock; each call replaces the last.

    The kernel's timer: it also ends a process that is busy in C code or stopped answering.
    """
    signal.setitimer(signal.ITIMER_REAL, max(moment - host_clock(), 0.001))
