"""Downloaded models and datasets."""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from workers.runtime import locks
from workers.runtime.paths import Paths
from workers.runtime.retention.item import StaleItem

RECENT_SECONDS = 4 * 3600.0
"""An input that was used within this time stays: its job may not have opened it yet. Far longer than that takes,
because file times follow the wall clock, which may jump."""


def beyond_limit(paths: Paths, limit: int, needed: Collection[Path]) -> list[StaleItem]:
    """The least recently used inputs, until the others have at most `limit` bytes. `needed` and recent ones stay.

    A hard link to a blob of a local store uses no space and does not count.
    """
    inputs = []
    for path in paths.inputs.glob("[!.]*"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            if stat.st_nlink == 1:
                inputs.append((stat.st_atime, path, stat.st_size))
    total, stale = sum(size for _, _, size in inputs), []
    for used, path, size in sorted(inputs):
        if total > limit and path not in needed and time.time() - used > RECENT_SECONDS:
            stale.append(StaleItem("input", path.name, size, partial(_remove_unused, paths, path, used)))
            total -= size
    return stale


def _remove_unused(paths: Paths, path: Path, used: float) -> None:
    """Remove an input unless it was used since it was listed, or is being downloaded or verified."""
    with _locked(paths, path.name) as locked, suppress(FileNotFoundError):
        if locked:
            stat = path.stat()
            if stat.st_nlink == 1 and stat.st_atime == used:
                path.unlink()


def killed_downloads(paths: Paths) -> list[StaleItem]:
    """Partial files of downloads that were killed: the locks of their inputs are free."""
    stale = []
    for path in paths.inputs.glob(".*.part"):
        with _locked(paths, _digest(path)) as locked, suppress(FileNotFoundError):
            if locked:
                stale.append(StaleItem("temporary", path.name, path.stat().st_size, partial(_remove_part, paths, path)))
    return stale


def _remove_part(paths: Paths, path: Path) -> None:
    """Remove it if its lock is still free. A cancelled download that still copies in a thread then fails."""
    with _locked(paths, _digest(path)) as locked:
        if locked:
            path.unlink(missing_ok=True)


def _digest(part: Path) -> str:
    """The input that a store downloads to `.<digest>….part`."""
    return part.name.split(".")[1]


@contextmanager
def _locked(paths: Paths, sha256: str) -> Iterator[bool]:
    """Whether the lock of an input could be taken; it is held during the block then."""
    lock = locks.take(paths.input_lock(sha256))
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)
