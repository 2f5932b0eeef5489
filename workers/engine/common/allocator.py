"""The C library's allocator in a process that trains: freed memory stays in the process.

By default glibc returns large blocks to the kernel as they are freed, and the next step gets them back page by page,
each page filled with zeros: a fifth of a small convolutional network's step, and half of a pass over a large batch.
"""

import ctypes
from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4
_KEPT_BYTES: Final = 2**31 - 1
"""The largest value that `mallopt` takes: memory at the end of the heap beyond it goes back to the kernel."""
_GROWTH_BYTES: Final = 16 * 2**20


def keep_freed_memory() -> None:
    """Serve large tensors from the heap, which keeps what is freed, for the rest of the process.

    Without effect where the C library has no `mallopt` (musl, macOS). See mallopt(3).
    """
    with suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TOP_PAD, _GROWTH_BYTES)
