"""A zip of blobs and generated files: equal members give equal bytes. Nothing is copied, stored or held in memory."""

import io
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from app.http.ranges import Span
from app.resources.blob_parts import BlobParts, BlobSpan
from app.storage.store import BlobStore

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_UNIX: Final = 3
_READABLE: Final = 0o100644 << 16
"""A plain file that everyone may read, in `external_attr`."""


class _Layout(io.RawIOBase):
    """What `zipfile` writes to: keeps the bytes around the blobs, and of a blob that passes only its place."""

    def __init__(self) -> None:
        self._kept: dict[int, bytes | BlobSpan] = {}
        self._place = 0
        self._passing = False

    def blob(self, sha256: str, size: int) -> None:
        """From here on what is written is this blob, until `end_of_blob`."""
        self._kept[self._place] = BlobSpan(sha256, Span(0, size))
        self._passing = True

    def end_of_blob(self) -> None:
        """What follows is kept again."""
        self._passing = False

    @property
    def parts(self) -> tuple[bytes | BlobSpan, ...]:
        """All of the file."""
        return tuple(self._kept[place] for place in sorted(self._kept))

    def write(self, data: "ReadableBuffer", /) -> int:
        size = memoryview(data).nbytes
        if size and not self._passing:
            self._kept[self._place] = bytes(data)  # a header is written again once its checksum is known
        self._place += size
        return size

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._place = offset
        return offset


async def zip_of(store: BlobStore, members: Mapping[str, bytes | BlobSpan]) -> BlobParts:
    """The zip of these members in their order, uncompressed, with a fixed time. Reads every blob once, for its
    checksum.
    """
    layout = _Layout()
    with zipfile.ZipFile(layout, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            if isinstance(content, bytes):
                archive.writestr(_entry(name, len(content)), content)
                continue
            size = content.span.length
            with archive.open(_entry(name, size), "w") as member:
                layout.blob(content.sha256, size)
                async for chunk in store.open_range(content.sha256, 0, size):
                    member.write(chunk)
                layout.end_of_blob()
    return BlobParts(store, layout.parts)


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system, entry.external_attr, entry.file_size = _UNIX, _READABLE, size
    return entry
