"""Room on the disk, promised to uploads before they come."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.errors import StorageFull

MARGIN = 256 << 20
"""Bytes that uploads never take: room for the database, checkpoints and logs."""


JOBS_SHARE = 4
"""Jobs may eat into what uploads leave free, down to a quarter of it."""


class Space:
    """What is free below `directory`, less what this process has promised already."""

    def __init__(self, directory: Path, margin: int = MARGIN) -> None:
        self._directory = directory
        self._margin = margin
        self._promised = 0

    def free(self) -> int:
        """Bytes that can still be promised; below 0 when the margin is eaten into."""
        return shutil.disk_usage(self._directory).free - self._margin - self._promised

    def free_for_jobs(self) -> int:
        """Bytes that jobs may still write."""
        return self.free() + self._margin - self._margin // JOBS_SHARE

    def expect_room(self) -> None:
        """For who writes without having been promised anything. Raises StorageFull when nothing is free."""
        free = self.free()
        if free < 0:
            raise StorageFull(0, free)

    @contextmanager
    def reserve(self, wanted: int) -> Iterator[None]:
        """Promise `wanted` bytes for the length of the block. Raises StorageFull.

        While the block writes, its bytes count twice, as promised and as no longer free: the error is on the
        safe side, and ends with the block.
        """
        free = self.free()
        if wanted > free:
            raise StorageFull(wanted, free)
        self._promised += wanted
        try:
            yield
        finally:
            self._promised -= wanted
