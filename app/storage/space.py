"""Free space on the disk, reserved for uploads before they arrive."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.errors import StorageFull

MARGIN = 256 << 20
"""Bytes that uploads leave free for the database, checkpoints and logs."""


JOBS_SHARE = 4
"""Jobs may use what uploads leave free, down to a quarter of it."""


class Space:
    """Free space below `directory`, without what this process has reserved already."""

    def __init__(self, directory: Path, margin: int = MARGIN) -> None:
        self._directory = directory
        self._margin = margin
        self._reserved = 0

    def free(self) -> int:
        """Bytes that can still be reserved; negative when the margin is in use."""
        return shutil.disk_usage(self._directory).free - self._margin - self._reserved

    def free_for_jobs(self) -> int:
        """Bytes that jobs may still write."""
        return self.free() + self._margin - self._margin // JOBS_SHARE

    def require_space(self) -> None:
        """Raise StorageFull if nothing is free; for writers without a reservation."""
        free = self.free()
        if free < 0:
            raise StorageFull(0, free)

    @contextmanager
    def reserve(self, wanted: int) -> Iterator[None]:
        """Reserve `wanted` bytes during the block. Raises StorageFull.

        While the block writes, its bytes count twice, as reserved and as no longer free. That is conservative, and ends
        with the block.
        """
        free = self.free()
        if wanted > free:
            raise StorageFull(wanted, free)
        self._reserved += wanted
        try:
            yield
        finally:
            self._reserved -= wanted
