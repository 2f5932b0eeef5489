"""Files that are made of others: ranges of a blob, and bytes of their own between them. Nothing is copied or stored."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from app.http.files import ServedFile
from app.http.ranges import Span
from app.storage.store import BlobStore

_MOST_DIGESTS: Final = 1024
_digests: dict[tuple[str, str], str] = {}
"""(blob, part) -> digest of the part's file: it never changes, and costs one pass to find."""


async def read_all(store: BlobStore, sha256: str, start: int, end: int) -> bytes:
    """Some bytes of a blob, for those that fit into memory."""
    return b"".join([chunk async for chunk in store.open_range(sha256, start, end)])


@dataclass(frozen=True)
class Pieces:
    """A file made of `parts`, one behind the other: spans of a blob, and bytes that are no part of it."""

    store: BlobStore
    sha256: str
    parts: tuple[Span | bytes, ...]

    @property
    def length(self) -> int:
        """Bytes of the whole file."""
        return sum(_length(part) for part in self.parts)

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""
        place = 0
        for part in self.parts:
            low, high = max(start, place) - place, min(end, place + _length(part)) - place
            if low < high and isinstance(part, Span):
                async for chunk in self.store.open_range(self.sha256, part.start + low, part.start + high):
                    yield chunk
            elif low < high and isinstance(part, bytes):
                yield part[low:high]
            place += _length(part)

    async def served(self, name: str, which: str) -> ServedFile:
        """The file as it goes out; `which` part of the blob it is."""
        return ServedFile(name, self.length, await self._digest(which), self.read)

    async def _digest(self, which: str) -> str:
        known = _digests.get((self.sha256, which))
        if known is None:
            digest = hashlib.sha256()
            async for chunk in self.read(0, self.length):
                digest.update(chunk)
            known = digest.hexdigest()
            while len(_digests) >= _MOST_DIGESTS:
                _digests.pop(next(iter(_digests)))
            _digests[self.sha256, which] = known
        return known


def _length(part: Span | bytes) -> int:
    return part.length if isinstance(part, Span) else len(part)
