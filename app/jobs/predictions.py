"""One split of a job's predictions.

The worker leaves one npz with the members of every split, none of them compressed. One split of it is the same
bytes of some members and a directory of its own: nothing is unpacked, and memory does not grow with the file.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from app.contracts.manifests import SplitName
from app.db.rows import ArtifactRow
from app.errors import NotFound
from app.http.files import ServedFile, blob
from app.http.services import Services
from app.http.zips import TAIL_BYTES, Entry, directory_of, directory_place, entries
from app.storage.store import BlobStore

_MOST_DIGESTS: Final = 1024
_digests: dict[tuple[str, str], str] = {}
"""(archive, split) -> digest of the split's file: it never changes, and costs one pass to find."""


async def of_split(services: Services, artifact: ArtifactRow, split: SplitName) -> ServedFile:
    """The members of one split as an npz. Raises NotFound where the dataset has no such rows."""
    archive = blob(services, f"{artifact.job_id}-{split}.npz", artifact.bytes, artifact.sha256)
    start, directory = await _directory(services.store, artifact)
    found = sorted(entries(directory), key=lambda entry: entry.offset)
    chosen = [entry for entry in found if entry.name.startswith(f"{split}/")]
    if not chosen:
        splits = sorted({entry.name.partition("/")[0] for entry in found})
        raise NotFound("no_such_split", f"there are no predictions on {split} rows; the splits with rows are {splits}")
    if len(chosen) == len(found):
        return archive
    pieces = _Pieces.of(services.store, artifact.sha256, found, chosen, start)
    return ServedFile(archive.name, pieces.length, await _digest(artifact.sha256, split, pieces), pieces.read)


async def _directory(store: BlobStore, artifact: ArtifactRow) -> tuple[int, bytes]:
    tail = await _bytes(store, artifact.sha256, max(0, artifact.bytes - TAIL_BYTES), artifact.bytes)
    start, end = directory_place(tail, artifact.bytes)
    return start, await _bytes(store, artifact.sha256, start, end)


async def _bytes(store: BlobStore, sha256: str, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in store.open_range(sha256, start, end)])


@dataclass(frozen=True)
class _Pieces:
    """A file made of ranges of a blob and of a directory behind them."""

    store: BlobStore
    sha256: str
    spans: tuple[tuple[int, int], ...]
    directory: bytes

    @classmethod
    def of(cls, store: BlobStore, sha256: str, found: list[Entry], chosen: list[Entry], end: int) -> "_Pieces":
        """The chosen members one behind the other. A member reaches to where the next one, or the directory, begins."""
        ends = dict(zip((e.offset for e in found), [*(e.offset for e in found[1:]), end], strict=True))
        spans, placed, place = [], [], 0
        for entry in chosen:
            spans.append((entry.offset, ends[entry.offset]))
            placed.append((entry, place))
            place += ends[entry.offset] - entry.offset
        return cls(store, sha256, tuple(spans), directory_of(placed, place))

    @property
    def length(self) -> int:
        """Bytes of the whole file."""
        return sum(end - start for start, end in self.spans) + len(self.directory)

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""
        place = 0
        for first, last in self.spans:
            low, high = max(start, place), min(end, place + last - first)
            if low < high:
                async for chunk in self.store.open_range(self.sha256, first + low - place, first + high - place):
                    yield chunk
            place += last - first
        if end > place:
            yield self.directory[max(0, start - place) : end - place]


async def _digest(sha256: str, split: str, pieces: _Pieces) -> str:
    known = _digests.get((sha256, split))
    if known is None:
        digest = hashlib.sha256()
        async for chunk in pieces.read(0, pieces.length):
            digest.update(chunk)
        known = digest.hexdigest()
        while len(_digests) >= _MOST_DIGESTS:
            _digests.pop(next(iter(_digests)))
        _digests[sha256, split] = known
    return known
