"""The interface of the blob store: bytes by their SHA-256, on local disk or in a bucket."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

_DIGEST = re.compile(r"[0-9a-f]{64}")


def key_of(sha256: str) -> str:
    """The key of a blob: `ab/cdef…`. Raises ValueError for anything but a digest, so that no path leaves the store."""
    if _DIGEST.fullmatch(sha256) is None:
        raise ValueError("expected a SHA-256 as 64 hexadecimal digits")
    return f"{sha256[:2]}/{sha256[2:]}"


class BlobStore(Protocol):
    """The operations of both kinds of store. A blob is complete or absent, and never changes."""

    async def put(self, source: Path, sha256: str) -> None:
        """Store the file under its digest, durably; `source` is gone afterwards. The store trusts the digest.

        An existing blob stays. Raises StorageFull, StorageUnavailable.
        """

    def open_range(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks of at most 1 MiB.

        Raises BlobMissing (at the first chunk), StorageUnavailable.
        """

    def local_path(self, sha256: str) -> Path | None:
        """The blob as a local file for reading, if the store is a local disk and has it."""

    async def exists(self, sha256: str) -> bool:
        """Whether the store has it."""

    async def delete(self, sha256: str) -> None:
        """Delete the blob if it exists."""

    async def fetch(self, sha256: str, target: Path) -> None:
        """Write the blob to `target` atomically, and check its digest.

        A local store hard-links if possible, so the file must not be modified. Raises BlobMissing, DigestMismatch,
        StorageFull, StorageUnavailable.
        """


class DigestMismatch(Exception):
    """The disk or bucket has damaged a blob."""

    def __init__(self, sha256: str, found: str) -> None:
        super().__init__(f"expected bytes with the digest {sha256}, found {found}: restore the blob from a backup")
        self.sha256 = sha256
