"""The clock that all processes of a host share."""

import time


def host_clock() -> float:
    """Seconds since boot (CLOCK_BOOTTIME). It cannot be set, and also counts while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
