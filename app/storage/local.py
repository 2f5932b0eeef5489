"""The blob store on a local disk. A blob is synced, renamed to its name, and then its directory is synced."""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from io import FileIO
from pathlib import Path

from app.storage.durable import CHUNK, digest_of_file, make_directory, move_in, room, sync_directory
from app.storage.errors import BlobMissing
from app.storage.private import private_folder
from app.storage.store import DigestMismatch, key_of

_READ_ONLY = 0o400


class LocalStore:
    """Blobs as files `<root>/ab/cdef…`, readable by their owner and writable by no user."""

    def __init__(self, root: Path) -> None:
        self._root = root
        private_folder(root)

    def _path(self, sha256: str) -> Path:
        return self._root / key_of(sha256)

    async def put(self, source: Path, sha256: str) -> None:
        """Move the file by rename, or by a copy from another file system."""
        await asyncio.to_thread(self.put_now, source, sha256)

    def put_now(self, source: Path, sha256: str) -> None:
        """`put` in this thread. A blob that the disk has damaged is replaced."""
        target = self._path(sha256)
        if target.exists() and digest_of_file(target) == sha256:
            # Another put may have renamed it and not yet synced the directory.
            sync_directory(target.parent)
            source.unlink()
            return
        with room():
            make_directory(target.parent)
            source.chmod(_READ_ONLY)
        move_in(source, target)

    async def open_range(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Read in a thread, one chunk at a time, the first with its opening."""
        file, chunk = await asyncio.to_thread(self._opened, sha256, start, min(CHUNK, end - start))
        try:
            for offset in range(start, end, CHUNK):
                wanted = min(CHUNK, end - offset)
                if offset != start:
                    chunk = await asyncio.to_thread(os.pread, file.fileno(), wanted, offset)
                if chunk:
                    yield chunk
                if len(chunk) < wanted:
                    return
        finally:
            file.close()

    def _opened(self, sha256: str, start: int, count: int) -> tuple[FileIO, bytes]:
        try:
            file = self._path(sha256).open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobMissing(sha256) from None
        try:
            return file, os.pread(file.fileno(), count, start)
        except BaseException:
            file.close()
            raise

    def local_path(self, sha256: str) -> Path | None:
        """The file itself."""
        path = self._path(sha256)
        return path if path.is_file() else None

    async def exists(self, sha256: str) -> bool:
        """Check the disk."""
        return await asyncio.to_thread(self._path(sha256).is_file)

    async def delete(self, sha256: str) -> None:
        """Unlink it, durably."""
        await asyncio.to_thread(self._delete, self._path(sha256))

    def _delete(self, path: Path) -> None:
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_directory(path.parent)

    async def fetch(self, sha256: str, target: Path) -> None:
        """A hard link if `target` is on the same file system, else a copy; the digest is checked either way."""
        await asyncio.to_thread(self._fetch, sha256, target)

    def _fetch(self, sha256: str, target: Path) -> None:
        source = self._path(sha256)
        if not source.is_file():
            raise BlobMissing(sha256)
        found = digest_of_file(source)
        if found != sha256:
            raise DigestMismatch(sha256, found)
        # A unique name: the caller may have cancelled this call and repeated it while this thread still copies.
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            with room():
                _link_or_copy(source, temporary)
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
