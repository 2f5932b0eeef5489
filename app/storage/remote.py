"""The blob store in a bucket (S3, Google Cloud Storage, Azure) through obstore."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError

from app.storage.durable import CHUNK, room
from app.storage.errors import BlobMissing, StorageUnavailable
from app.storage.store import DigestMismatch, key_of

_PART = 8 << 20
_PARTS_AT_ONCE = 4


class RemoteStore:
    """Blobs as objects `ab/cdef…`. An object is visible only once its upload is complete.

    `bucket` is any obstore store.
    """

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket

    @classmethod
    def at(cls, url: str) -> "RemoteStore":
        """The bucket at `s3://…`, `gs://…` or `az://…`; credentials come from the environment."""
        return cls(obstore.store.from_url(url))

    async def put(self, source: Path, sha256: str) -> None:
        """Upload in parts of 8 MiB, four at a time, so that memory does not grow with the file."""
        if not await self.exists(sha256):
            with _translated(sha256):
                await obstore.put_async(
                    self._bucket, key_of(sha256), source, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
                )
        await asyncio.to_thread(source.unlink)

    async def open_range(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """One range request, streamed."""
        if end <= start:
            return
        with _translated(sha256):
            answer = await obstore.get_async(self._bucket, key_of(sha256), options={"range": (start, end)})
            async for chunk in answer.stream(min_chunk_size=CHUNK):
                whole = bytes(chunk)
                for offset in range(0, len(whole), CHUNK):
                    yield whole[offset : offset + CHUNK]

    def local_path(self, sha256: str) -> Path | None:
        """Always None: the blobs are remote."""
        key_of(sha256)
        return None

    async def exists(self, sha256: str) -> bool:
        """One HEAD request."""
        try:
            with _translated(sha256):
                await obstore.head_async(self._bucket, key_of(sha256))
        except BlobMissing:
            return False
        return True

    async def delete(self, sha256: str) -> None:
        """One DELETE request."""
        try:
            with _translated(sha256):
                await obstore.delete_async(self._bucket, key_of(sha256))
        except BlobMissing:
            return

    async def fetch(self, sha256: str, target: Path) -> None:
        """Download next to the target while hashing, then rename."""
        temporary = target.with_name(f".{target.name}.part")
        try:
            with room():
                found = await self._download(sha256, temporary)
                if found != sha256:
                    raise DigestMismatch(sha256, found)
                temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    async def _download(self, sha256: str, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("wb") as file, _translated(sha256):
            answer = await obstore.get_async(self._bucket, key_of(sha256))
            async for chunk in answer.stream(min_chunk_size=CHUNK):
                await asyncio.to_thread(_write_and_hash, file, digest, bytes(chunk))
        return digest.hexdigest()


def _write_and_hash(file: Any, digest: Any, chunk: bytes) -> None:
    file.write(chunk)
    digest.update(chunk)


@contextmanager
def _translated(sha256: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BlobMissing(sha256) from None
    except BaseError as error:
        raise StorageUnavailable(f"the bucket does not answer as expected ({type(error).__name__})") from error
