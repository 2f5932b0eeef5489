"""Uploads in progress: written to the staging directory and hashed at once, deleted unless published."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from app.storage.durable import CHUNK, room
from app.storage.errors import TooLarge
from app.storage.private import private_folder


@dataclass(frozen=True)
class Staged:
    """A complete upload, synced to the disk. Publish it, which moves it away, within the block that staged it."""

    path: Path
    sha256: str
    bytes: int


class SizeLimit:
    """How many bytes the files of one upload may have together."""

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def take(self, count: int) -> None:
        """So many bytes more. Raises TooLarge above the limit."""
        self._left -= count
        if self._left < 0:
            raise TooLarge(self._limit)


class StagedFile:
    """One upload. Memory stays at one chunk; writing and hashing happen in a thread."""

    def __init__(self, path: Path, limit: "SizeLimit | None") -> None:
        self._path = path
        self._limit = limit
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._bytes = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises TooLarge above the limit, StorageFull when the disk is."""
        self._bytes += len(data)
        if self._limit is not None:
            self._limit.take(len(data))
        self._waiting += data
        if len(self._waiting) >= CHUNK:
            await self._flush()

    async def finish(self) -> Staged:
        """Sync the complete file, and close it. Raises StorageFull."""
        await self._flush()
        with room():
            await asyncio.to_thread(os.fsync, self._descriptor)
        self._close()
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
        self._close()
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Staging:
    """The directory of uploads in progress, on the file system of the blob store if that is local."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        private_folder(directory)

    @asynccontextmanager
    async def open(self, limit: SizeLimit | None = None) -> AsyncIterator[StagedFile]:
        """A new file, within the limit. It is deleted at the end of the block unless it was moved away."""
        with StagedFile(self._directory / uuid.uuid4().hex, limit) as file:
            yield file
