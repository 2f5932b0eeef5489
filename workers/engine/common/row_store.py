"""A store of rows that are expensive to make: a teacher's outputs, images, sounds. They are made once, and mapped.

    <folder>/<key>/<file>          rows [N, …] of one type, memory-mapped by every job that uses them
    <folder>/<key>/manifest.json   sizes and digests, written last

The key is a digest of everything that the numbers depend on. Each entry has two lock files. `<key>.lock` is held shared
by every process that uses the entry, until its job ends, and protects the entry (and its temporary folder) from
eviction. `<key>.write` is held exclusively while the entry is made: other processes wait for the numbers, not for the
end of a job. Above its size limit the store evicts the least recently used entries, stale temporary folders first.
"""

import errno
import fcntl
import os
import shutil
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.engine.common.files import commit_folder, last_use, mark_used, temporary_folder, verified_manifest
from workers.engine.common.progress import moved

Array = NDArray[Any]
Blocks = Iterator[Mapping[str, Mapping[str, Array]]]
"""The next rows of each entry and file, in order: {key: {file: [n, *shape]}}."""
Make = Callable[[Collection[str]], Blocks]
"""Makes all rows of the entries with these keys."""

_LOCK_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class RowFile:
    """A file of rows: the type of their numbers, and the shape of one."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * prod(self.shape)


@dataclass(frozen=True)
class Entry:
    """The files of an entry by name, and what its manifest says beside its number of rows."""

    files: Mapping[str, RowFile]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Bytes of one row in all files."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True)
class StoredRows:
    """Mapped rows by entry and file, [N, *shape], which must not be written to. `hit`: whether none had to be made."""

    hit: bool
    arrays: Mapping[str, Mapping[str, Array]]
    bytes: int
    """On disk."""


class RowStore:
    """A folder of entries, shared by all jobs of all workers on a machine."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._locks: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, entries: Mapping[str, Entry], rows: int, make: Make) -> StoredRows:
        """The entries by key; missing or damaged ones are made by one call of `make`.

        They are locked against eviction until `close`.
        """
        for key in entries:
            lock = _open_lock(self._folder / f"{key}.lock")
            self._locks.append(lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
        missing = self._missing(entries)
        hit = not missing or not self._make_missing(missing, rows, make)
        arrays = {}
        for key, entry in entries.items():
            mark_used(self._folder / key)
            arrays[key] = {name: _mapped(self._folder / key / name, file, rows) for name, file in entry.files.items()}
        return StoredRows(hit, arrays, rows * sum(entry.bytes for entry in entries.values()))

    def close(self) -> None:
        """Release the locks on the entries that this process used."""
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def _missing(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        return {key: entry for key, entry in entries.items() if verified_manifest(self._folder / key) is None}

    def _make_missing(self, entries: Mapping[str, Entry], rows: int, make: Make) -> bool:
        """Make the entries, unless another process has done so meanwhile; returns whether this process did.

        Locks are taken in the order of the keys, so that processes cannot deadlock.
        """
        with ExitStack() as locks:
            for key in sorted(entries):
                lock = _open_lock(self._folder / f"{key}.write")
                locks.callback(os.close, lock)
                _wait_for(lock)
            missing = self._missing(entries)
            if not missing:
                return False
            for key in missing:
                shutil.rmtree(self._folder / key, ignore_errors=True)
            self._evict(rows * sum(entry.bytes for entry in missing.values()))
            self._write(missing, rows, make)
            return True

    def _temporary(self, key: str) -> Path:
        return self._folder / f"{TEMPORARY_PREFIX}{key}"

    def _write(self, entries: Mapping[str, Entry], rows: int, make: Make) -> None:
        with ExitStack() as folders:
            for key in entries:
                folders.enter_context(temporary_folder(self._temporary(key)))
            written = self._write_files(entries, make)
            if written != rows:
                raise RuntimeError(f"{written} of {rows} rows were made")
            for key, entry in entries.items():
                commit_folder(self._temporary(key), self._folder / key, {"rows": rows, **entry.facts})

    def _write_files(self, entries: Mapping[str, Entry], make: Make) -> int:
        """Write the files of the temporary folders; returns the number of rows written."""
        written = 0
        with ExitStack() as stack:
            files = {
                (key, name): stack.enter_context((self._temporary(key) / name).open("wb"))
                for key, entry in entries.items()
                for name in entry.files
            }
            for block in make(entries.keys()):
                moved()
                for (key, name), file in files.items():
                    file.write(np.ascontiguousarray(block[key][name]).data)
                written += len(next(iter(next(iter(block.values())).values())))
        return written

    def _evict(self, needed: int) -> None:
        """Remove least recently used entries that are not in use, until `needed` bytes fit the limit and the disk."""
        entries = {path: _bytes(path) for path in self._folder.iterdir() if path.is_dir()}
        used, free = sum(entries.values()), shutil.disk_usage(self._folder).free
        for path in sorted(entries, key=last_use):
            if used + needed <= self._limit and needed <= free:
                return
            with _exclusive(self._folder / f"{path.name.removeprefix(TEMPORARY_PREFIX)}.lock") as acquired:
                if acquired:
                    used, free = used - entries[path], free + entries[path]
                    # Another process may have removed it first.
                    with suppress(FileNotFoundError):
                        shutil.rmtree(path)


def as_tensor(rows: Array) -> Tensor:
    """Mapped rows as a tensor of the same memory. torch has no tensors that must not be written to, and warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(rows)


def _mapped(path: Path, file: RowFile, rows: int) -> Array:
    """Read-only: a map that may be written to counts as memory of the process, and has to fit in it."""
    try:
        return np.memmap(path, dtype=file.dtype, mode="r", shape=(rows, *file.shape))
    except OSError as error:
        if error.errno == errno.ENOMEM:  # more than the address space that the process may have
            raise MemoryError(f"cannot map {rows * file.bytes} bytes of rows") from error
        raise


def _bytes(path: Path) -> int:
    """Size of a folder's files; less while another process removes it."""
    total = 0
    with suppress(FileNotFoundError):
        for file in path.iterdir():
            total += file.stat().st_size
    return total


def _open_lock(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _wait_for(lock: int) -> None:
    """Take a lock, however long another process makes the same rows: its own progress is watched."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            moved()
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


@contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    """Try to take a lock without waiting, and hold it inside the block; yields whether it was acquired."""
    descriptor = _open_lock(path)
    acquired = False
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        acquired = True
    try:
        yield acquired
    finally:
        os.close(descriptor)
