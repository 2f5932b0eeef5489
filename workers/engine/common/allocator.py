"""The C library's allocator in a process that trains: freed memory stays in the process.

By default glibc returns large blocks to the kernel as they are freed, and the next step gets them back page by page,
each page filled with zeros: a fifth of a small convolutional network's step, and half of a pass over a large batch.
"""

import ctypes
import os
from contextlib import suppress
from typing import Final

from app.contracts.wire.orders import NO_THREAD_CACHE, TUNABLES

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
_KEPT_BYTES: Final = 2**31 - 1
"""The largest value that `mallopt` takes: what is free at the end of the heap beyond it goes back to the kernel."""


def keep_freed_memory() -> None:
    """Serve large tensors from the heap, which keeps what is freed, for the rest of the process. See mallopt(3).

    Without effect where the process was started without NO_THREAD_CACHE, and where the C library has no `mallopt`
    (musl, macOS).
    """
    if NO_THREAD_CACHE not in os.environ.get(TUNABLES, ""):
        return
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
