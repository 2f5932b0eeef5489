"""Caches that the engine writes: stores of rows (soft targets of teachers, images and sounds), and trained controls.

The engine has its own locks: `<entry>.lock` is held while an entry is read, `<entry>.write` while it is written.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.runtime import locks
from workers.runtime.disk.usage import bytes_below
from workers.runtime.retention.item import StaleItem

_DAY_SECONDS = 86_400.0


def stored_rows(kind: str, folder: Path, limit: int) -> Iterator[StaleItem]:
    """Of a store of rows of some kind: the least recently used entries, until the others have at most `limit` bytes,
    and dead temporary folders.
    """
    entries = []
    for path in _folders(folder):
        if path.name.startswith(TEMPORARY_PREFIX):
            lock = folder / f"{path.name.removeprefix(TEMPORARY_PREFIX)}.write"
            if _is_free(lock):
                yield StaleItem("temporary", path.name, bytes_below(path), partial(_remove_unlocked, path, lock))
        else:
            with suppress(FileNotFoundError):
                entries.append(((path / "manifest.json").stat().st_mtime, bytes_below(path), path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        lock = folder / f"{path.name}.lock"
        if total > limit and _is_free(lock):
            total -= size
            yield StaleItem(kind, path.name, size, partial(_remove_unlocked, path, lock))


def controls(folder: Path) -> Iterator[StaleItem]:
    """Temporary folders that were not modified for a day. Published entries are bounded by their number."""
    for path in _folders(folder):
        with suppress(FileNotFoundError):
            if path.name.startswith(TEMPORARY_PREFIX) and time.time() - path.stat().st_mtime > _DAY_SECONDS:
                yield StaleItem(
                    "temporary", path.name, bytes_below(path), partial(shutil.rmtree, path, ignore_errors=True)
                )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _is_free(lock: Path) -> bool:
    descriptor = locks.take(lock)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _remove_unlocked(path: Path, lock: Path) -> None:
    descriptor = locks.take(lock)
    if descriptor is not None:
        try:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)
