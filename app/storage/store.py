"""The blob store: bytes by their SHA-256, on local disk or in a bucket."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

_DIGEST = re.compile(r"[0-9a-f]{64}")


def key_of(sha256: str) -> str:
    """Where a blob lies: `ab/cdef…`. Raises ValueError for anything but a digest, so no name leaves the store."""
    if _DIGEST.fullmatch(sha256) is None:
        raise ValueError("expected a SHA-256 as 64 hexadecimal digits")
    return f"{sha256[:2]}/{sha256[2:]}"


class BlobStore(Protocol):
    """What both kinds of store can do. A blob is whole or absent; it never changes."""

    async def put(self, source: Path, sha256: str) -> None:
        """Take the file in under its digest, durably; `source` is gone afterwards. The store trusts the digest.

        A blob that is there already stays. Raises StorageFull, StorageUnavailable.
        """

    def open_range(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks of at most 1 MiB.

        Raises BlobMissing (at the first chunk), StorageUnavailable.
        """

    def local_path(self, sha256: str) -> Path | None:
        """The blob as a local file to be read, where the store is a local disk and has it."""

    async def exists(self, sha256: str) -> bool:
        """Whether the store has it."""

    async def delete(self, sha256: str) -> None:
        """Remove it; nothing happens if it is not there."""

    async def fetch(self, sha256: str, target: Path) -> None:
        """Write the blob to `target`, whole or not at all, and check its digest.

        A local store links instead of copying where it can: the file must not be written to. Raises
        BlobMissing, DigestMismatch, StorageFull, StorageUnavailable.
        """


class DigestMismatch(Exception):
    """The store's bytes are not those that were put: the disk or bucket has damaged them."""

    def __init__(self, sha256: str, found: str) -> None:
        super().__init__(f"expected bytes with the digest {sha256}, found {found}: restore the blob from a backup")
        self.sha256 = sha256
