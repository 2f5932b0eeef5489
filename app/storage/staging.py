"""Uploads on their way: written to disk while they are hashed, gone again unless they were finished and taken."""

import asyncio
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from app.storage.durable import CHUNK, room
from app.storage.errors import TooLarge


@dataclass(frozen=True)
class Staged:
    """A finished upload on the disk, synced. Publish it (which renames it away) inside the block that staged it."""

    path: Path
    sha256: str
    bytes: int


class StagedFile:
    """One upload. Memory stays at one chunk; writing and hashing happen in a thread."""

    def __init__(self, path: Path, limit: int | None) -> None:
        self._path = path
        self._limit = limit
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._bytes = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises TooLarge above the limit, StorageFull when the disk is."""
        self._bytes += len(data)
        if self._limit is not None and self._bytes > self._limit:
            raise TooLarge(self._limit)
        self._waiting += data
        if len(self._waiting) >= CHUNK:
            await self._flush()

    async def finish(self) -> Staged:
        """All has come: sync it. Raises StorageFull."""
        await self._flush()
        with room():
            await asyncio.to_thread(os.fsync, self._descriptor)
        return Staged(self._path, self._digest.hexdigest(), self._bytes)

    async def _flush(self) -> None:
        chunk, self._waiting = self._waiting, bytearray()
        if chunk:
            await asyncio.to_thread(self._write, chunk)

    def _write(self, chunk: bytearray) -> None:
        self._digest.update(chunk)
        rest = memoryview(chunk)
        with room():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


class Staging:
    """The folder of uploads on their way, on the file system of the blob store if that is local."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @asynccontextmanager
    async def open(self, limit: int | None = None) -> AsyncIterator[StagedFile]:
        """A new file of at most `limit` bytes; whatever was not taken away by the end of the block is deleted."""
        with StagedFile(self._directory / uuid.uuid4().hex, limit) as file:
            yield file

    def abandoned(self, seconds: float) -> list[tuple[Path, int]]:
        """(path, bytes) of uploads to which nothing was written for so long: their processes are dead, as one that
        stands still is given up much sooner.
        """
        found = []
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):
                facts = path.stat()
                if time.time() - facts.st_mtime > seconds:
                    found.append((path, facts.st_size))
        return found

    def clear(self) -> int:
        """Delete what uploads of dead processes left, and say how many there were: at the start of the only
        process that stages here.
        """
        left = list(self._directory.iterdir())
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)
