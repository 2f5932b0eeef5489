"""Sizes and times of the files below a folder, also while other processes change it."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def bytes_below(folder: Path) -> int:
    """Total size of all files below a folder. Files that are removed in the meantime do not count."""
    return sum(entry.st_size for entry in _stats_below(folder) if not stat.S_ISDIR(entry.st_mode))


def last_modified(folder: Path) -> float:
    """When a folder, or anything below it, was last modified; 0 if it is gone."""
    return max((entry.st_mtime for entry in _stats_below(folder)), default=0.0)


def _stats_below(folder: Path) -> Iterator[os.stat_result]:
    """Of the folder, and of every folder and file below it that still exists."""
    for parent, _, names in os.walk(folder):  # unlike rglob it continues where a folder is gone
        for path in (parent, *(os.path.join(parent, name) for name in names)):  # noqa: PTH118 - thousands of files
            with suppress(FileNotFoundError):
                yield os.lstat(path)
