"""Files for their owner alone: what is created from now on, and what an earlier version left open."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077
_log = logging.getLogger(__name__)


def create_private_files() -> None:
    """From now on, files and folders of this process and its children are their owner's alone. Call it at the start."""
    os.umask(_OTHERS)


def found_instead(error: OSError) -> str:
    """What is where a folder was expected, in words."""
    return "a file" if isinstance(error, FileExistsError | NotADirectoryError) else str(error.strerror)


def require_access(folder: Path) -> None:
    """Raises PermissionError where this user may not read and write in the folder."""
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(None, "it cannot be written by this user")


def private_folder(folder: Path) -> None:
    """Create the folder, or take group and others their access to it, and to all below.

    What is below is looked at only where the folder itself was open: other users cannot reach into a closed one. The
    folder is last, so that a start that was cut short is repeated. What belongs to another user is left as it is, with
    a warning.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    if not folder.stat().st_mode & _OTHERS:
        return
    try:
        for path in _below(folder):
            close(path)
        close(folder)
    except PermissionError:
        _log.warning("%s has files of another user, whose modes are left as they are", folder)


def close(path: Path) -> None:
    """Take group and others their access to one file or folder."""
    mode = path.lstat().st_mode
    if mode & _OTHERS and not stat.S_ISLNK(mode):
        path.chmod(stat.S_IMODE(mode) & ~_OTHERS)


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        yield from (Path(root, name) for name in (*folders, *files))
