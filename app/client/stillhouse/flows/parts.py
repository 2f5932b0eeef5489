"""Files that are being downloaded: beside their targets, under hidden names, each written by one download at a time."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO, Final

from stillhouse.errors import Unreadable

fcntl: Any
try:
    import fcntl
except ModuleNotFoundError:  # a system without flock: there every download counts as the only one
    fcntl = None

UNNAMED: Final = "unnamed"
"""The tag of bytes for which the service has none."""
_TAG: Final = re.compile(rf"[A-Za-z0-9]{{8,128}}|{UNNAMED}")
_LONGEST: Final = 100
"""Bytes of a file's name; a longer one is replaced by its hash, so that the hidden name is legal too."""
_WRITE_BITS: Final = 0o222


class Part:
    """A file that is being written for `target`, with the bytes that `tag` names. It is locked until it is closed."""

    def __init__(self, target: Path, tag: str, path: Path, file: BinaryIO, *, private: bool = False) -> None:
        self.target, self.tag, self.path = target, tag, path
        self._file, self._private = file, private

    @classmethod
    def begun(cls, target: Path) -> "Part | None":
        """One that an earlier download left, and that no process writes at present."""
        for path, tag in _left(target):
            if (file := _locked(path, os.O_RDWR)) is not None:
                return cls(target, tag, path, file)
        return None

    @classmethod
    def fresh(cls, target: Path, tag: str) -> "Part":
        """An empty one: under a name that a later download finds, or, where another download writes it, its own."""
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f".{_stem(target)}.{tag}.part")
        file = _locked(path, os.O_RDWR | os.O_CREAT)
        if file is not None:
            file.truncate(0)
            return cls(target, tag, path, file)
        path = path.with_name(f"{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part")
        return cls(target, tag, path, path.open("xb"), private=True)

    @property
    def size(self) -> int:
        """How much of it there is."""
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def write(self, chunk: bytes) -> None:
        """Add to its end."""
        self._file.write(chunk)

    def sha256(self) -> str:
        """The digest of what there is."""
        self._file.flush()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def drop(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def finish(self) -> None:
        """Give it the name of its target."""
        self._file.flush()
        self.path.replace(self.target)
        self._file.close()

    def close(self) -> None:
        """Leave it to a later download, if one can find it."""
        if self._file.closed:
            return
        if self._private:
            self.drop()
        else:
            self._file.close()


def _stem(target: Path) -> str:
    name = os.fsencode(target.name)
    return target.name if len(name) <= _LONGEST else hashlib.sha256(name).hexdigest()[:32]


def _left(target: Path) -> Iterator[tuple[Path, str]]:
    """The parts of exactly this target, with their tags."""
    head, tail = f".{_stem(target)}.", ".part"
    if not target.parent.is_dir():
        return
    for path in sorted(target.parent.iterdir()):
        tag = path.name[len(head) : -len(tail)]
        if path.name == f"{head}{tag}{tail}" and _TAG.fullmatch(tag) and path.is_file():
            yield path, tag


def _locked(path: Path, flags: int) -> BinaryIO | None:
    """The file, for this download alone; None where another one has it, or where it cannot be written."""
    flags |= os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags, 0o666), "ab")
    except OSError:
        if not os.path.lexists(path) and flags & os.O_CREAT:
            raise
        return None
    if _lock(file) and _is_at(file, path):
        return file
    file.close()
    return None


def _lock(file: BinaryIO) -> bool:
    """Whether no other download holds the file. Where the file system has no locks, none does."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the name still is that of the file: a download that ended meanwhile has renamed it."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    return False


def real_target(path: Path) -> Path:
    """The file to write, behind symbolic links. Raises Unreadable for what must not be replaced by a file."""
    try:
        found = path.resolve()
        mode = found.stat().st_mode if found.exists() else None
    except (OSError, RuntimeError) as error:  # a link to itself, a name that is too long
        raise Unreadable(f"expected a file to write, found: {error}: name another one") from None
    if mode is None:
        return found
    if not S_ISREG(mode):
        kind = "a folder" if S_ISDIR(mode) else "a device, pipe or socket"
        raise Unreadable(f"expected a file to write, found {kind} at {path}: name a file")
    if not mode & _WRITE_BITS or not os.access(found, os.W_OK):
        raise Unreadable(f"expected a file that may be written, found {path} read-only: name another one, or delete it")
    return found
