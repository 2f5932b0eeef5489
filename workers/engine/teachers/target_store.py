"""The soft-target store: what a teacher says about every row of a dataset, computed once.

    <cache>/targets/<key>/output-0.f32     packed [N, size], float32 (or .f16), memory-mapped by every job that uses it
    <cache>/targets/<key>/output-0.i32     where only the k largest of many classes are kept: their places [N, k]
    <cache>/targets/<key>/manifest.json    sizes and digests, written last

The key holds everything that the numbers depend on: teacher, dataset and their digests, the teacher's
preprocessing, precision, kind of device, versions. Two locks lie beside each entry. `<key>.lock` is shared by all who
use it, until their jobs end, and keeps it (and its draft) from being evicted. `<key>.write` is held by the one who
computes it, and for no longer: whoever else needs the entry waits for the numbers, not for another's job. Eviction
drops the least recently used beyond the bound; drafts of the dead go first.
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

from workers.engine.common.files import MANIFEST, fresh_draft, publish_folder, whole_folder
from workers.engine.data.top_k import TopK, largest

_DRAFT = ".draft-"
Outputs = dict[str, Tensor]
Stored = Tensor | TopK
Blocks = Callable[[], Iterator[Outputs]]
"""Starts a teacher's pass: yields {output: [n, size] float32 on the host} block by block, all rows in order."""


@dataclass(frozen=True)
class Packing:
    """How the numbers of one output are kept: `size` a row, or of many classes the `top` largest."""

    size: int
    precision: Literal["float32", "float16"] = "float32"
    top: int | None = None

    @property
    def bytes(self) -> int:
        """Of one row."""
        width = 4 if self.precision == "float32" else 2
        return self.size * width if self.top is None else self.top * (width + 4)

    @property
    def suffix(self) -> str:
        """Of the file of numbers."""
        return "f32" if self.precision == "float32" else "f16"

    def packed(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """(numbers, places) of a block [n, size] as they are written."""
        dtype = torch.float32 if self.precision == "float32" else torch.float16
        if self.top is None:
            return values.to(dtype).contiguous(), None
        kept, places = largest(values, self.top)
        return kept.to(dtype).contiguous(), places.contiguous()


Packings = Mapping[str, Packing]


@dataclass(frozen=True)
class StoredTargets:
    """A teacher's outputs for all rows: {output: [N, size]} backed by memory-mapped files."""

    hit: bool
    outputs: Mapping[str, Stored]
    bytes: int


class SoftTargetStore:
    """One folder, shared by all jobs of all workers on a machine."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._held: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, entries: Mapping[str, Packings], rows: int, compute: Blocks) -> StoredTargets:
        """The entries {key: {output: packing}}, computed by one run of `compute` where one of them is not there or not
        whole. They stay locked against eviction until `close`.
        """
        for key in entries:
            lock = _opened(self._folder / f"{key}.lock")
            self._held.append(lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
        missing = {key: sizes for key, sizes in entries.items() if whole_folder(self._folder / key) is None}
        hit = not missing or not self._written(missing, rows, compute)
        outputs: dict[str, Stored] = {}
        for key, sizes in entries.items():
            os.utime(self._folder / key / MANIFEST)
            outputs |= _mapped(self._folder / key, rows, sizes)
        return StoredTargets(hit, outputs, sum(_size(rows, sizes) for sizes in entries.values()))

    def close(self) -> None:
        """Release the entries that this process used."""
        for lock in self._held:
            os.close(lock)
        self._held.clear()

    def _written(self, entries: Mapping[str, Packings], rows: int, compute: Blocks) -> bool:
        """Write the entries, unless another process has just done so; whether it was this one. Locks are taken in the
        order of their names, so that two processes never wait for each other.
        """
        with ExitStack() as locks:
            for key in sorted(entries):
                writing = _opened(self._folder / f"{key}.write")
                locks.callback(os.close, writing)
                fcntl.flock(writing, fcntl.LOCK_EX)
            missing = {key: sizes for key, sizes in entries.items() if whole_folder(self._folder / key) is None}
            if not missing:
                return False
            for key in missing:
                shutil.rmtree(self._folder / key, ignore_errors=True)
            self._make_room(sum(_size(rows, sizes) for sizes in missing.values()))
            self._write(missing, rows, compute)
            return True

    def _draft(self, key: str) -> Path:
        return self._folder / f"{_DRAFT}{key}"

    def _write(self, entries: Mapping[str, Packings], rows: int, compute: Blocks) -> None:
        with ExitStack() as drafts:
            for key in entries:
                drafts.enter_context(fresh_draft(self._draft(key)))
            written = self._fill(entries, compute)
            if written != rows:
                raise RuntimeError(f"a teacher's pass gave {written} of {rows} rows")
            for key, sizes in entries.items():
                told = {name: packing.size for name, packing in sizes.items()}
                publish_folder(self._draft(key), self._folder / key, {"rows": rows, "sizes": told})

    def _fill(self, entries: Mapping[str, Packings], compute: Blocks) -> int:
        """Write the drafts' files; the rows that came."""
        written = 0
        with ExitStack() as files:
            open_files = []
            for key, sizes in entries.items():
                for i, name in enumerate(sorted(sizes)):
                    numbers, places = _files(self._draft(key), i, sizes[name])
                    opened = files.enter_context(numbers.open("wb"))
                    beside = files.enter_context(places.open("wb")) if places is not None else None
                    open_files.append((name, sizes[name], opened, beside))
            for block in compute():
                for name, packing, file, beside in open_files:
                    kept, where = packing.packed(block[name])
                    file.write(kept.numpy().data)
                    if beside is not None and where is not None:
                        beside.write(where.numpy().data)
                written += len(next(iter(block.values())))
        return written

    def _make_room(self, needed: int) -> None:
        """Drop least recently used entries, as far as no one uses them, until `needed` bytes fit bound and disk."""
        entries = {path: _bytes(path) for path in self._folder.iterdir() if path.is_dir()}
        used, free = sum(entries.values()), shutil.disk_usage(self._folder).free
        for path in sorted(entries, key=_last_use):
            if used + needed <= self._limit and needed <= free:
                return
            with _exclusive(self._folder / f"{path.name.removeprefix(_DRAFT)}.lock") as ours:
                if ours:
                    used, free = used - entries[path], free + entries[path]
                    # Another process may have dropped it first.
                    with suppress(FileNotFoundError):
                        shutil.rmtree(path)


def one_after_another(parts: Sequence[StoredTargets]) -> StoredTargets:
    """Entries of the same outputs as one, for all their rows in order. One comes back as it is, memory-mapped; several
    are copied into memory, in the precision in which they are kept.
    """
    if len(parts) == 1:
        return parts[0]
    outputs = {name: _stacked([part.outputs[name] for part in parts]) for name in parts[0].outputs}
    return StoredTargets(all(part.hit for part in parts), outputs, sum(part.bytes for part in parts))


def _stacked(parts: Sequence[Stored]) -> Stored:
    packed = [part for part in parts if isinstance(part, TopK)]
    if packed:
        values, places = torch.cat([part.values for part in packed]), torch.cat([part.places for part in packed])
        return TopK(values, places, packed[0].size)
    return torch.cat([part for part in parts if isinstance(part, Tensor)])


def _size(rows: int, sizes: Packings) -> int:
    return rows * sum(packing.bytes for packing in sizes.values())


def _files(folder: Path, position: int, packing: Packing) -> tuple[Path, Path | None]:
    """(numbers, places). Outputs are numbered by the order of their names, as a name may be no good file name."""
    start = folder / f"output-{position}"
    return start.with_suffix(f".{packing.suffix}"), start.with_suffix(".i32") if packing.top is not None else None


def _mapped(place: Path, rows: int, sizes: Packings) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for i, name in enumerate(sorted(sizes)):
        packing = sizes[name]
        numbers, places = _files(place, i, packing)
        dtype = np.float32 if packing.precision == "float32" else np.float16
        values = _opened_map(numbers, dtype, (rows, packing.top or packing.size))
        if places is None:
            found[name] = values
        else:
            found[name] = TopK(values, _opened_map(places, np.int32, values.shape), packing.size)
    return found


def _opened_map(path: Path, dtype: Any, shape: tuple[int, ...]) -> Tensor:
    # Copy-on-write: torch wants writable memory, and no one writes.
    return torch.from_numpy(np.memmap(path, dtype=dtype, mode="c", shape=tuple(shape)))


def _bytes(path: Path) -> int:
    """What a folder holds; less where another process is dropping it."""
    total = 0
    with suppress(FileNotFoundError):
        for file in path.iterdir():
            total += file.stat().st_size
    return total


def _last_use(path: Path) -> float:
    """When an entry was used last; 0 for what is none (a draft of the dead, remains of a dropped entry)."""
    try:
        return (path / MANIFEST).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _opened(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    """Whether the lock could be taken at once; held inside the block."""
    descriptor = _opened(path)
    taken = False
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = True
    try:
        yield taken
    finally:
        os.close(descriptor)
