"""Free space on a worker's disk: no job is claimed without any, and each running job reserves its share."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.storage.errors import StorageFull
from app.storage.space import Space
from workers.runtime.disk.usage import bytes_below

WAIT_SECONDS = 60.0
"""How long a claimed job waits for space before it fails."""
POLL_SECONDS = 1.0
_log = logging.getLogger("stillhouse.worker")


class DiskSpace:
    """The disk of a data directory, shared by the jobs of one worker."""

    def __init__(self, root: Path, spare_bytes: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._space = Space(root, spare_bytes)
        self._wait = wait_seconds
        self._reserved: list[tuple[Path, int]] = []  # two attempts of one job have one each, for the same folder
        self._reserving = asyncio.Lock()
        self._full = False

    def has_room(self) -> bool:
        """Whether a job may be claimed: while the disk is full, jobs wait in the queue. Logs each change once."""
        full = self._space.free_for_jobs() < 0
        if full != self._full:
            message = "is full: no job is claimed until space is freed" if full else "has free space again"
            _log.warning("the disk %s", message)
        self._full = full
        return not full

    def _free(self, others: list[tuple[Path, int]]) -> int:
        """Free bytes that are not reserved by others. What they have already written is no longer free anyway."""
        unwritten = sum(max(0, reserved - bytes_below(folder)) for folder, reserved in others)
        return self._space.free_for_jobs() - unwritten

    @asynccontextmanager
    async def reserve(self, wanted: int, folder: Path) -> AsyncIterator[None]:
        """Reserve `wanted` bytes below `folder` during the block; the bytes already in it are included.

        Waits until they are free. Raises StorageFull after the waiting time.
        """
        deadline = asyncio.get_running_loop().time() + self._wait
        while True:
            if await self._try_reserve(wanted, folder, last=asyncio.get_running_loop().time() > deadline):
                break
            await asyncio.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            self._reserved.remove((folder, wanted))

    async def _try_reserve(self, wanted: int, folder: Path, *, last: bool) -> bool:
        """Reserve if there is space. The lock keeps two jobs from reserving the same space."""
        async with self._reserving:
            more = max(0, wanted - await asyncio.to_thread(bytes_below, folder))
            free = await asyncio.to_thread(self._free, [each for each in self._reserved if each[0] != folder])
            if more <= free:
                self._reserved.append((folder, wanted))
                return True
        if last:
            raise StorageFull(more, free)
        return False
