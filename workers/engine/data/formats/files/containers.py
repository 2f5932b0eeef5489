"""Zip and tar files as lists of named files, whose content is read by name. Nothing is unpacked."""

import os
import tarfile
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from app.contracts.problems import UserError
from workers.engine.data.formats.common import MAX_DEFLATE_RATIO, ZIP_DAMAGES, unreadable

MOST_FILE_BYTES: Final = 256 << 20
_DAMAGES = (*ZIP_DAMAGES, tarfile.TarError)
_DAMAGED = "the archive is damaged: pack the folder again"


@dataclass(frozen=True)
class Entry:
    """A file of an archive. `packed`: its bytes in the archive; `is_link`: it is another file's name, or a device."""

    name: str
    bytes: int
    packed: int
    is_link: bool = False

    def check(self) -> None:
        """Raises UserError: `bad_file_name`, `unreadable`."""
        parts = self.name.split("/")
        if not self.name.isprintable():
            raise UserError(
                "bad_file_name", f"a file's name has characters that cannot be printed, rename it: {self.name!r:.200}"
            )
        if "\\" in self.name or any(part in ("", ".", "..") for part in parts):
            raise UserError(
                "bad_file_name",
                f"the archive names a file `{self.name[:200]}`: expected paths below one folder, pack it again",
            )
        if self.is_link:
            raise UserError("bad_file_name", f"`{self.name}` is a link or a device: pack the file itself")
        if self.bytes > min(MOST_FILE_BYTES, self.packed * MAX_DEFLATE_RATIO):
            raise unreadable(
                f"`{self.name}` claims {self.bytes} bytes in {self.packed}, {MOST_FILE_BYTES} at most: pack it again"
            )


class Container(Protocol):
    """An archive that is open."""

    entries: list[Entry]

    def read(self, name: str) -> bytes:
        """The content of a file, from any thread. Raises UserError `unreadable`."""
        ...


def open_container(path: Path) -> Container:
    """A zip or tar file. Raises UserError `unreadable`."""
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        return ZipContainer(path) if is_zip else TarContainer(path)
    except _DAMAGES:
        raise unreadable(_DAMAGED) from None


class ZipContainer:
    """A zip file. Each thread reads by a handle of its own."""

    def __init__(self, path: Path) -> None:
        self._path, self._handles = path, threading.local()
        entries = self._handle().infolist()  # of Python below 3.12 `is_dir` fails for a name of no characters
        self.entries = [_of_zip(entry) for entry in entries if not entry.filename.endswith("/")]

    def read(self, name: str) -> bytes:
        try:
            return self._handle().read(name)
        except _DAMAGES:
            raise unreadable(f"`{name}` in the archive is damaged: pack the folder again") from None

    def _handle(self) -> zipfile.ZipFile:
        if not hasattr(self._handles, "own"):
            self._handles.own = zipfile.ZipFile(self._path)
        handle: zipfile.ZipFile = self._handles.own
        return handle


def _of_zip(entry: zipfile.ZipInfo) -> Entry:
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unreadable(f"`{entry.filename[:200]}` is encrypted, or not compressed by deflate: pack the folder again")
    is_link = (entry.external_attr >> 28) not in (0, 0o10)  # in the upper bits of Unix, 0o10 is a plain file
    return Entry(entry.filename, entry.file_size, entry.compress_size, is_link)


class TarContainer:
    """A tar file that is not compressed: its files are ranges of it."""

    def __init__(self, path: Path) -> None:
        self._path, size = path, path.stat().st_size
        self.entries, self._places = [], dict[str, tuple[int, int]]()
        with tarfile.open(path, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = member.name.removeprefix("./")
                self.entries.append(Entry(name, member.size, member.size, not member.isreg() or member.issparse()))
                self._places[name] = member.offset_data, member.size
                if member.offset_data + member.size > size:
                    raise unreadable(_DAMAGED)
        if not self.entries:
            raise unreadable("the archive has no files: expected a zip, or a tar that is not compressed")

    def read(self, name: str) -> bytes:
        start, size = self._places[name]
        with self._path.open("rb") as file:
            found = os.pread(file.fileno(), size, start)
        if len(found) != size:
            raise unreadable(f"`{name}` in the archive is truncated: pack the folder again")
        return found
