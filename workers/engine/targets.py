"""The soft-target store: what a teacher says about every row of a dataset, computed once.

    <cache>/targets/<key>/<output>.f32     packed float32 [N, size], memory-mapped by every job that uses it
    <cache>/targets/<key>/manifest.json    sizes and digests, written last

The key holds everything that the numbers depend on: teacher, dataset and their digests, the teacher's
preprocessing, precision, kind of device, versions. A lock beside each entry lets one process write while others
wait, and keeps an entry in use from being evicted. Eviction drops the least recently used beyond the bound.
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
        lock = os.open(self._folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held.append(lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = self._folder / key
        hit = whole_folder(place) is not None
        if not hit:
            shutil.rmtree(place, ignore_errors=True)
            self._make_room(rows * sum(sizes.values()) * 4)
            self._write(place, rows, sizes, compute)
        os.utime(place / MANIFEST)
        fcntl.flock(lock, fcntl.LOCK_SH)
        return StoredTargets(key, hit, _mapped(place, rows, sizes), rows * sum(sizes.values()) * 4)

    def close(self) -> None:
        """Release the entries that this process used."""
        for lock in self._held:
            os.close(lock)
        self._held.clear()

    def _write(self, place: Path, rows: int, sizes: Mapping[str, int], compute: Blocks) -> None:
        draft = place.with_name(f".draft-{place.name}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
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
        entries = [path for path in self._folder.iterdir() if path.is_dir() and (path / MANIFEST).exists()]
        used = sum(_bytes(path) for path in entries)
        for path in sorted(entries, key=lambda entry: (entry / MANIFEST).stat().st_mtime):
            if used + needed <= self._limit:
                return
            with _exclusive(self._folder / f"{path.name}.lock") as ours:
                if ours:
                    used -= _bytes(path)
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
    return sum(file.stat().st_size for file in path.iterdir())


@contextmanager
def _exclusive(path: Path) -> Iterator[bool]:
    """Whether the lock could be taken at once; held inside the block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    taken = False
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = True
    try:
        yield taken
    finally:
        os.close(descriptor)
