"""Free space on the disk, reserved for uploads as they arrive."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.errors import StorageFull

MARGIN = 256 << 20
"""Bytes that uploads leave free for the database, checkpoints and logs."""
BLOCK = 16 << 20
"""Bytes that an upload reserves at a time."""

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

    @contextmanager
    def reservation(self, announced: int = 0) -> Iterator["Reservation"]:
        """Space for a file that arrives during the block, reserved as it arrives. Raises StorageFull where `announced`
        bytes are more than are free now; they are not reserved.
        """
        free = self.free()
        if announced > max(free, 0):
            raise StorageFull(announced, free)
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            reservation.release()

    def hold(self, count: int) -> int:
        """Reserve up to BLOCK bytes, `count` at least; how many. Raises StorageFull."""
        free = self.free()
        if count > free:
            raise StorageFull(count, free)
        block = max(count, min(BLOCK, free))
        self._reserved += block
        return block

    def give_back(self, block: int) -> None:
        """End a reservation by `hold`."""
        self._reserved -= block


class Reservation:
    """A block of space at a time for one upload: what has been announced and does not arrive reserves nothing."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._block = self._left = 0

    def take(self, count: int) -> None:
        """`count` more bytes are written. Raises StorageFull.

        The block before them is given back: its bytes are on the disk, except for those that a staged file has not yet
        written (1 MiB at most).
        """
        if count > self._left:
            self.release()
            self._block = self._left = self._space.hold(count)
        self._left -= count

    def release(self) -> None:
        """Give back what is reserved."""
        self._space.give_back(self._block)
        self._block = self._left = 0
