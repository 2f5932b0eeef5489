"""The soft-target store: a teacher's outputs for every row of a dataset, computed once.

    <cache>/targets/<key>/output-0.f32     packed [N, size], float32 (or .f16), memory-mapped by every job that uses it
    <cache>/targets/<key>/output-0.i32     where only some of many classes are stored: their indices, see `data/top_k`
    <cache>/targets/<key>/manifest.json    sizes and digests, written last

The key is a digest of everything that the numbers depend on: teacher and dataset, preprocessing, precision, device,
versions. Each entry has two lock files. `<key>.lock` is held shared by every process that uses the entry, until its job
ends, and protects the entry (and its temporary folder) from eviction. `<key>.write` is held exclusively while the entry
is computed: other processes wait for the numbers, not for the end of a job. Above its size limit the store evicts the
least recently used entries, stale temporary folders first.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from app.contracts.wire.orders import TEMPORARY_PREFIX
from workers.engine.common.files import MANIFEST, commit_folder, temporary_folder, verified_manifest
from workers.engine.data.top_k.packing import TopKPacking
from workers.engine.data.top_k.rows import TopK

Outputs = dict[str, Tensor]
Stored = Tensor | TopK
Compute = Callable[[], Iterator[Outputs]]
"""Runs a teacher over all rows in order: yields {output: [n, size] float32 on the host} block by block."""


@dataclass(frozen=True)
class Packing:
    """The storage format of one output: all `size` numbers of a row, or of class scores what `top` keeps."""

    size: int
    precision: Literal["float32", "float16"] = "float32"
    top: TopKPacking | None = None

    @property
    def numbers(self) -> int:
        """Number of numbers of one row."""
        return self.size if self.top is None else self.top.numbers

    @property
    def bytes(self) -> int:
        """Bytes of one row, with an int32 for the index of each stored class."""
        width = 4 if self.precision == "float32" else 2
        return self.numbers * width + (0 if self.top is None else self.top.stored * 4)

    @property
    def suffix(self) -> str:
        """Suffix of the file of numbers."""
        return "f32" if self.precision == "float32" else "f16"

    def pack(self, values: Tensor, first: int) -> tuple[Tensor, Tensor | None]:
        """(numbers, indices) of the rows from `first` on, [n, size], as written; indices None without `top`."""
        dtype = torch.float32 if self.precision == "float32" else torch.float16
        if self.top is None:
            return values.to(dtype).contiguous(), None
        numbers, indices = self.top.pack(values, first)
        return numbers.to(dtype).contiguous(), indices.contiguous()


Packings = Mapping[str, Packing]


@dataclass(frozen=True)
class StoredTargets:
    """A teacher's outputs for all rows: {output: [N, size]} backed by memory-mapped files.

    `hit`: whether no teacher had to run. `bytes`: their size on disk.
    """

    hit: bool
    outputs: Mapping[str, Stored]
    bytes: int


class SoftTargetStore:
    """A folder of entries, shared by all jobs of all workers on a machine."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._locks: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, entries: Mapping[str, Packings], rows: int, compute: Compute) -> StoredTargets:
        """The entries {key: {output: packing}}; missing or damaged ones are computed by one run of `compute`.

        They are locked against eviction until `close`.
        """
        for key in entries:
            lock = _open_lock(self._folder / f"{key}.lock")
            self._locks.append(lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
        missing = self._missing(entries)
        hit = not missing or not self._compute_missing(missing, rows, compute)
        outputs: dict[str, Stored] = {}
        for key, packings in entries.items():
            os.utime(self._folder / key / MANIFEST)
            outputs |= _map_entry(self._folder / key, rows, packings)
        return StoredTargets(hit, outputs, sum(_size(rows, packings) for packings in entries.values()))

    def close(self) -> None:
        """Release the locks on the entries that this process used."""
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def _missing(self, entries: Mapping[str, Packings]) -> dict[str, Packings]:
        return {key: packings for key, packings in entries.items() if verified_manifest(self._folder / key) is None}

    def _compute_missing(self, entries: Mapping[str, Packings], rows: int, compute: Compute) -> bool:
        """Compute the entries, unless another process has done so meanwhile; returns whether this process did.

        Locks are taken in the order of the keys, so that processes cannot deadlock.
        """
        with ExitStack() as locks:
            for key in sorted(entries):
                lock = _open_lock(self._folder / f"{key}.write")
                locks.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            missing = self._missing(entries)
            if not missing:
                return False
            for key in missing:
                shutil.rmtree(self._folder / key, ignore_errors=True)
            self._evict(sum(_size(rows, packings) for packings in missing.values()))
            self._write(missing, rows, compute)
            return True

    def _temporary(self, key: str) -> Path:
        return self._folder / f"{TEMPORARY_PREFIX}{key}"

    def _write(self, entries: Mapping[str, Packings], rows: int, compute: Compute) -> None:
        with ExitStack() as folders:
            for key in entries:
                folders.enter_context(temporary_folder(self._temporary(key)))
            written = self._write_files(entries, compute)
            if written != rows:
                raise RuntimeError(f"the teacher returned {written} of {rows} rows")
            for key, packings in entries.items():
                sizes = {name: packing.size for name, packing in packings.items()}
                commit_folder(self._temporary(key), self._folder / key, {"rows": rows, "sizes": sizes})

    def _write_files(self, entries: Mapping[str, Packings], compute: Compute) -> int:
        """Write the files of the temporary folders; returns the number of rows written."""
        written = 0
        with ExitStack() as stack:
            outputs = []
            for key, packings in entries.items():
                for i, name in enumerate(sorted(packings)):
                    numbers_path, indices_path = _paths(self._temporary(key), i, packings[name])
                    numbers_file = stack.enter_context(numbers_path.open("wb"))
                    indices_file = stack.enter_context(indices_path.open("wb")) if indices_path is not None else None
                    outputs.append((name, packings[name], numbers_file, indices_file))
            for block in compute():
                for name, packing, numbers_file, indices_file in outputs:
                    numbers, indices = packing.pack(block[name], written)
                    numbers_file.write(numbers.numpy().data)
                    if indices_file is not None and indices is not None:
                        indices_file.write(indices.numpy().data)
                written += len(next(iter(block.values())))
        return written

    def _evict(self, needed: int) -> None:
        """Remove least recently used entries that are not in use, until `needed` bytes fit the limit and the disk."""
        entries = {path: _bytes(path) for path in self._folder.iterdir() if path.is_dir()}
        used, free = sum(entries.values()), shutil.disk_usage(self._folder).free
        for path in sorted(entries, key=_last_use):
            if used + needed <= self._limit and needed <= free:
                return
            with _exclusive(self._folder / f"{path.name.removeprefix(TEMPORARY_PREFIX)}.lock") as acquired:
                if acquired:
                    used, free = used - entries[path], free + entries[path]
                    # Another process may have removed it first.
                    with suppress(FileNotFoundError):
                        shutil.rmtree(path)


def concatenate_targets(parts: Sequence[StoredTargets]) -> StoredTargets:
    """The targets of several datasets, with the same outputs, concatenated by rows.

    A single one is returned as it is, memory-mapped; several are copied into memory, in the stored precision.
    """
    if len(parts) == 1:
        return parts[0]
    outputs = {name: _concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs}
    return StoredTargets(all(part.hit for part in parts), outputs, sum(part.bytes for part in parts))


def _concatenate(parts: Sequence[Stored]) -> Stored:
    top_k = [part for part in parts if isinstance(part, TopK)]
    if top_k:
        numbers, indices = torch.cat([part.numbers for part in top_k]), torch.cat([part.indices for part in top_k])
        return TopK(numbers, indices, top_k[0].packing)
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def _size(rows: int, packings: Packings) -> int:
    return rows * sum(packing.bytes for packing in packings.values())


def _paths(folder: Path, position: int, packing: Packing) -> tuple[Path, Path | None]:
    """(numbers, indices). Outputs are numbered in the order of their names, which may not be valid file names."""
    stem = folder / f"output-{position}"
    return stem.with_suffix(f".{packing.suffix}"), stem.with_suffix(".i32") if packing.top is not None else None


def _map_entry(folder: Path, rows: int, packings: Packings) -> dict[str, Stored]:
    outputs: dict[str, Stored] = {}
    for i, name in enumerate(sorted(packings)):
        packing = packings[name]
        numbers_path, indices_path = _paths(folder, i, packing)
        dtype = np.float32 if packing.precision == "float32" else np.float16
        numbers = _memory_map(numbers_path, dtype, (rows, packing.numbers))
        if packing.top is None or indices_path is None:
            outputs[name] = numbers
        else:
            indices = _memory_map(indices_path, np.int32, (rows, packing.top.stored))
            outputs[name] = TopK(numbers, indices, packing.top)
    return outputs


def _memory_map(path: Path, dtype: Any, shape: tuple[int, ...]) -> Tensor:
    # Copy-on-write, as torch requires writable memory; nothing writes to it.
    return torch.from_numpy(np.memmap(path, dtype=dtype, mode="c", shape=tuple(shape)))


def _bytes(path: Path) -> int:
    """Size of a folder's files; less while another process removes it."""
    total = 0
    with suppress(FileNotFoundError):
        for file in path.iterdir():
            total += file.stat().st_size
    return total


def _last_use(path: Path) -> float:
    """When an entry was last used; 0 for stale temporary folders and remains of removed entries."""
    try:
        return (path / MANIFEST).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _open_lock(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


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
