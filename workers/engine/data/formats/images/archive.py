"""Zip archives of image files: what is in them, checked before a byte is decoded. Nothing is unpacked to a disk.

The order of the rows is that of the files' paths, so that the same folder packed again gives the same rows.
"""

import struct
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from app.contracts.problems import UserError, listed
from app.contracts.resources.images import IMAGE_SUFFIXES
from workers.engine.data.formats.common import unreadable

METADATA: Final = ("metadata.csv", "metadata.jsonl")
"""Files with further columns for the images: those of the convention of ImageFolder."""
MOST_ENTRY_BYTES: Final = 256 << 20
_MAX_DEFLATE_RATIO: Final = 1100
_LEFT_OUT: Final = ("__MACOSX", "Thumbs.db", "desktop.ini")
"""What operating systems add to folders, beside names with a dot in front."""
_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, ValueError)


class ImageArchive:
    """The files of an archive. `images`: their paths, sorted. `metadata`: the path of its table, if there is one.

    Raises UserError: `unreadable`, `bad_file_name`, `unsupported_image`.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._archives = path, threading.local()
        entries = [entry for entry in self._entries() if not entry.is_dir() and not _is_left_out(entry.filename)]
        for entry in entries:
            _check(entry)
        tables = [entry.filename for entry in entries if PurePosixPath(entry.filename).name in METADATA]
        if len(tables) > 1:
            raise unreadable(f"the archive has {listed(tables)}, expected one table for all images: join them")
        self.metadata = tables[0] if tables else None
        self.images = sorted(entry.filename for entry in entries if entry.filename not in tables)
        _check_kinds(self.images)
        doubled = next((one for one, other in zip(self.images, self.images[1:], strict=False) if one == other), None)
        if doubled is not None:
            raise unreadable(f"the archive has `{doubled}` twice: pack the folder again")

    def read(self, name: str) -> bytes:
        """The content of a file. Each thread has a handle of its own. Raises UserError `unreadable`."""
        try:
            return self._archive().read(name)
        except _DAMAGES:
            raise unreadable(f"`{name}` in the archive is damaged: pack the folder again") from None

    def _archive(self) -> zipfile.ZipFile:
        if not hasattr(self._archives, "own"):
            self._archives.own = zipfile.ZipFile(self._path)
        archive: zipfile.ZipFile = self._archives.own
        return archive

    def _entries(self) -> list[zipfile.ZipInfo]:
        try:
            return self._archive().infolist()
        except _DAMAGES:
            raise unreadable("the zip archive of images is damaged: pack the folder again") from None


def _is_left_out(name: str) -> bool:
    return any(part in _LEFT_OUT or part.startswith(".") for part in name.split("/") if part not in (".", ".."))


def _check(entry: zipfile.ZipInfo) -> None:
    parts = entry.filename.split("/")
    if entry.filename.startswith("/") or "\\" in entry.filename or any(part in ("", ".", "..") for part in parts):
        raise UserError(
            "bad_file_name",
            f"the archive names a file `{entry.filename[:200]}`: expected paths below one folder, pack it again",
        )
    if not entry.filename.isprintable():
        raise UserError(
            "bad_file_name", f"a file's name has characters that cannot be printed: {entry.filename!r:.200}"
        )
    if (entry.external_attr >> 28) == 0xA:
        raise UserError("bad_file_name", f"`{entry.filename}` is a link to another file: pack the file itself")
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unreadable(f"`{entry.filename}` is encrypted, or not compressed by deflate: pack the folder again")
    if entry.file_size > min(MOST_ENTRY_BYTES, entry.compress_size * _MAX_DEFLATE_RATIO):
        raise unreadable(
            f"`{entry.filename}` claims {entry.file_size} bytes in {entry.compress_size}, {MOST_ENTRY_BYTES} at most: "
            "pack the folder again"
        )


def _check_kinds(names: list[str]) -> None:
    others = [name for name in names if not name.lower().endswith(IMAGE_SUFFIXES)]
    if others:
        raise UserError(
            "unsupported_image",
            f"the archive has {listed(others, most=5)}, expected files of {', '.join(IMAGE_SUFFIXES)} and one of "
            f"{' or '.join(METADATA)}: leave the others out, or write them as one of these",
        )
    if not names:
        raise UserError("empty_dataset", f"the archive has no image: expected files of {', '.join(IMAGE_SUFFIXES)}")
