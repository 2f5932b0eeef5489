"""Eviction from a folder of cache entries that several processes use at once."""

import shutil
from contextlib import suppress
from pathlib import Path

from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.engine.common.files import last_use

STALE_SECONDS = 3600.0
"""Age from which a temporary file or folder is stale: writing an entry takes far less than a second."""


def keep_newest(folder: Path, entries: int) -> None:
    """Keep the most recently used `entries` files and folders of `folder`, to which the caller has just added one, and
    remove stale temporary ones.
    """
    now = folder.stat().st_mtime  # the clock of the file system, as the process's may differ
    for temporary in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with suppress(FileNotFoundError):
            if now - temporary.stat().st_mtime > STALE_SECONDS:
                _remove(temporary)
    for old in sorted(folder.glob("[!.]*"), key=last_use, reverse=True)[entries:]:
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
