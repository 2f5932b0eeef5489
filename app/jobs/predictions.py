"""One split of a job's predictions.

The worker leaves one npz with the members of every split, none of them compressed. One split of it is the same
bytes of some members and a directory of its own: nothing is unpacked, and memory does not grow with the file.
"""

from app.contracts.resources.manifests import SplitName
from app.db.rows import ArtifactRow
from app.errors import NotFound
from app.http.files import ServedFile, blob
from app.http.pieces import Pieces, read_all
from app.http.ranges import Span
from app.http.services import Services
from app.http.zips import TAIL_BYTES, Entry, directory_of, directory_place, entries
from app.storage.store import BlobStore


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
    pieces = Pieces(services.store, artifact.sha256, _of_members(found, chosen, start))
    return await pieces.served(archive.name, f"split/{split}")


async def _directory(store: BlobStore, artifact: ArtifactRow) -> tuple[int, bytes]:
    tail = await read_all(store, artifact.sha256, max(0, artifact.bytes - TAIL_BYTES), artifact.bytes)
    start, end = directory_place(tail, artifact.bytes)
    return start, await read_all(store, artifact.sha256, start, end)


def _of_members(found: list[Entry], chosen: list[Entry], end: int) -> tuple[Span | bytes, ...]:
    """The chosen members one behind the other, and their directory. A member reaches to where the next one, or the
    directory, begins.
    """
    ends = dict(zip((e.offset for e in found), [*(e.offset for e in found[1:]), end], strict=True))
    spans, placed, place = [], [], 0
    for entry in chosen:
        spans.append(Span(entry.offset, ends[entry.offset]))
        placed.append((entry, place))
        place += spans[-1].length
    return (*spans, directory_of(placed, place))
