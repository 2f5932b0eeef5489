"""Room on a worker's disk: none claimed without some, and each job's share promised to it while it runs."""

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app.storage.errors import StorageFull
from app.storage.space import Space

WAIT_SECONDS = 60.0
"""How long a job that has been claimed waits for its room before it is given up."""
LOOK_SECONDS = 1.0
_log = logging.getLogger("stillhouse.worker")


class Disk:
    """The disk below a data directory, as the jobs of one worker share it."""

    def __init__(self, root: Path, spare_bytes: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._space = Space(root, spare_bytes)
        self._wait = wait_seconds
        self._promised: list[tuple[Path, int]] = []  # two attempts of one job have one each, in the same folder
        self._looking = asyncio.Lock()
        self._full = False

    def has_room(self) -> bool:
        """Whether a job may be claimed at all: while the disk is full they wait in the queue. Said once."""
        full = self._space.free_for_jobs() < 0
        if full != self._full:
            _log.warning("the disk %s", "is full: no job is claimed until it has room" if full else "has room again")
        self._full = full
        return not full

    def _free(self, others: list[tuple[Path, int]]) -> int:
        """What is not promised to others; what they have written of it is not free any more."""
        rest = sum(max(0, promised - bytes_below(folder)) for folder, promised in others)
        return self._space.free_for_jobs() - rest

    @asynccontextmanager
    async def promise(self, wanted: int, folder: Path) -> AsyncIterator[None]:
        """`wanted` bytes below `folder` for the length of the block; what lies there already counts. Waits for them.
        Raises StorageFull.
        """
        deadline = asyncio.get_running_loop().time() + self._wait
        while True:
            if await self._is_promised(wanted, folder, last=asyncio.get_running_loop().time() > deadline):
                break
            await asyncio.sleep(LOOK_SECONDS)
        try:
            yield
        finally:
            self._promised.remove((folder, wanted))

    async def _is_promised(self, wanted: int, folder: Path, *, last: bool) -> bool:
        """Whether there is room, which is promised then: two jobs are never promised the same."""
        async with self._looking:
            more = max(0, wanted - await asyncio.to_thread(bytes_below, folder))
            free = await asyncio.to_thread(self._free, [each for each in self._promised if each[0] != folder])
            if more <= free:
                self._promised.append((folder, wanted))
                return True
        if last:
            raise StorageFull(more, free)
        return False


def bytes_below(folder: Path) -> int:
    """Of all files below a folder; what somebody removes meanwhile counts nothing."""
    return sum(facts.st_size for facts in facts_below(folder) if not stat.S_ISDIR(facts.st_mode))


def facts_below(folder: Path) -> Iterator[os.stat_result]:
    """Of a folder, and of every folder and file below it that is still there."""
    for parent, _, names in os.walk(folder):  # unlike rglob it goes on where a folder has gone
        for path in (parent, *(os.path.join(parent, name) for name in names)):  # noqa: PTH118 - thousands of files
            with suppress(FileNotFoundError):
                yield os.lstat(path)
