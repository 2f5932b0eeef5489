"""The soft-target store: what a teacher says about every row of a dataset, computed once.

    <cache>/targets/<key>/<output>.f32     packed float32 [N, size], memory-mapped by every job that uses it
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workers.engine.files import MANIFEST, publish_folder, whole_folder

_DRAFT = ".draft-"
Outputs = dict[str, Tensor]
Blocks = Callable[[], Iterator[Outputs]]
"""Starts a teacher's pass: yields {output: [n, size] float32 on the host} block by block, all rows in order."""


@dataclass(frozen=True)
class StoredTargets:
    """A teacher's outputs for all rows: {output: [N, size]} backed by memory-mapped files."""

    key: str
    hit: bool
    outputs: Mapping[str, Tensor]
    bytes: int


class SoftTargetStore:
    """One folder, shared by all jobs of all workers on a machine."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._held: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str, rows: int, sizes: Mapping[str, int], compute: Blocks) -> StoredTargets:
        """The entry of `key`, computed by `compute` where there is none that is whole.

        The entry stays locked against eviction until `close`.
        """
        lock = _opened(self._folder / f"{key}.lock")
        self._held.append(lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        place = self._folder / key
        hit = whole_folder(place) is not None or not self._written(place, rows, sizes, compute)
        os.utime(place / MANIFEST)
        return StoredTargets(key, hit, _mapped(place, rows, sizes), rows * sum(sizes.values()) * 4)

    def close(self) -> None:
        """Release the entries that this process used."""
        for lock in self._held:
            os.close(lock)
        self._held.clear()

    def _written(self, place: Path, rows: int, sizes: Mapping[str, int], compute: Blocks) -> bool:
        """Write the entry, unless another process has just done so; whether it was this one."""
        writing = _opened(self._folder / f"{place.name}.write")
        try:
            fcntl.flock(writing, fcntl.LOCK_EX)
            if whole_folder(place) is not None:
                return False
            draft = place.with_name(f"{_DRAFT}{place.name}")
            for remains in (place, draft):
                shutil.rmtree(remains, ignore_errors=True)
            self._make_room(rows * sum(sizes.values()) * 4)
            draft.mkdir()
            self._write(draft, place, rows, sizes, compute)
            return True
        finally:
            os.close(writing)

    def _write(self, draft: Path, place: Path, rows: int, sizes: Mapping[str, int], compute: Blocks) -> None:
        files = {name: (draft / _file(i)).open("wb") for i, name in enumerate(sorted(sizes))}
        try:
            written = 0
            for block in compute():
                for name, file in files.items():
                    file.write(block[name].to(torch.float32).contiguous().numpy().data)
                written += len(next(iter(block.values())))
        finally:
            for file in files.values():
                file.close()
        if written != rows:
            raise RuntimeError(f"a teacher's pass gave {written} of {rows} rows")
        publish_folder(draft, place, {"rows": rows, "sizes": dict(sizes)})

    def _make_room(self, needed: int) -> None:
        """Drop least recently used entries, as far as no one uses them, until `needed` bytes fit the bound."""
        entries = {path: _bytes(path) for path in self._folder.iterdir() if path.is_dir()}
        used = sum(entries.values())
        for path in sorted(entries, key=_last_use):
            if used + needed <= self._limit:
                return
            with _exclusive(self._folder / f"{path.name.removeprefix(_DRAFT)}.lock") as ours:
                if ours:
                    used -= entries[path]
                    # Another process may have dropped it first.
                    with suppress(FileNotFoundError):
                        shutil.rmtree(path)


def _file(position: int) -> str:
    """Outputs are numbered by the order of their names, as a name may be no good file name."""
    return f"output-{position}.f32"


def _mapped(place: Path, rows: int, sizes: Mapping[str, int]) -> Outputs:
    found = {}
    for i, name in enumerate(sorted(sizes)):
        # Copy-on-write: torch wants writable memory, and no one writes.
        mapped = np.memmap(place / _file(i), dtype=np.float32, mode="c", shape=(rows, sizes[name]))
        found[name] = torch.from_numpy(mapped)
    return found


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
