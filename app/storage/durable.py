"""Files that survive a power failure: written, synced, renamed, and their directory synced. All functions block."""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage.errors import StorageFull
from app.storage.private import FOLDER_MODE

CHUNK = 1 << 20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, the process's own limit


@contextmanager
def room() -> Iterator[None]:
    """Raise StorageFull for the errors of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFull from error
        raise


def sync_file(path: Path) -> None:
    """Sync the file's bytes to the disk."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Sync the directory's entries to the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Create a directory below an existing one, durably."""
    try:
        path.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        return
    sync_directory(path.parent)


def move_in(source: Path, target: Path) -> None:
    """Rename `source` to `target`, durably; across file systems by a synced copy next to the target.

    Afterwards `target` is complete and `source` is gone. A failure leaves no partial target.
    """
    with room():
        try:
            sync_file(source)
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_in(source, target)
            source.unlink()
        sync_directory(target.parent)


def _copy_in(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        shutil.copyfile(source, temporary)
        shutil.copymode(source, temporary)
        sync_file(temporary)
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)


def digest_of_file(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
