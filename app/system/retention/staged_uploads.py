"""Uploads in the staging directory that were never finished."""

import time
from contextlib import suppress
from pathlib import Path


def unfinished(directory: Path, seconds: float) -> list[tuple[Path, int]]:
    """(path, bytes) of uploads that were not written to for so long.

    The process that received one has died: an upload that stalls is aborted much sooner.
    """
    stale = []
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            stat = path.stat()
            if time.time() - stat.st_mtime > seconds:
                stale.append((path, stat.st_size))
    return stale


def clear(directory: Path) -> int:
    """Delete all staged uploads; how many there were. Only for the start of the one process that stages here."""
    paths = list(directory.iterdir())
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)
