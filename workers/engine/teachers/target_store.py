"""The soft-target store: a teacher's outputs for every row of a dataset, computed once.

    <cache>/targets/<key>/output-0.f32     packed [N, size], float32 (or .f16), memory-mapped by every job that uses it
    <cache>/targets/<key>/output-0.i32     where only some of many classes are stored: their indices, see `data/top_k`

The key is a digest of everything that the numbers depend on: teacher and dataset, preprocessing, precision, device,
versions. Locks, eviction and the manifest are those of `RowStore`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workers.engine.common.row_store import Array, Blocks, Entry, RowFile, RowStore, as_tensor
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
        self._store = RowStore(folder, limit_bytes)

    def get(self, entries: Mapping[str, Packings], rows: int, compute: Compute) -> StoredTargets:
        """The entries {key: {output: packing}}; missing or damaged ones are computed by one run of `compute`.

        They are locked against eviction until `close`.
        """

        def make(missing: Collection[str]) -> Blocks:
            first = 0
            for block in compute():
                yield {key: _packed(entries[key], block, first) for key in missing}
                first += len(next(iter(block.values())))

        stored = self._store.get({key: _entry(packings) for key, packings in entries.items()}, rows, make)
        outputs: dict[str, Stored] = {}
        for key, packings in entries.items():
            outputs |= _outputs(packings, {name: as_tensor(array) for name, array in stored.arrays[key].items()})
        return StoredTargets(stored.hit, outputs, stored.bytes)

    def close(self) -> None:
        """Release the locks on the entries that this process used."""
        self._store.close()


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


def _files(packings: Packings) -> dict[str, tuple[str, str | None]]:
    """By output its file of numbers and, with `top`, that of indices. Outputs are numbered in the order of their names,
    which may not be valid file names.
    """
    return {
        name: (f"output-{i}.{packings[name].suffix}", f"output-{i}.i32" if packings[name].top is not None else None)
        for i, name in enumerate(sorted(packings))
    }


def _entry(packings: Packings) -> Entry:
    files = {}
    for name, (numbers, indices) in _files(packings).items():
        packing = packings[name]
        files[numbers] = RowFile(np.dtype(packing.precision), (packing.numbers,))
        if indices is not None and packing.top is not None:
            files[indices] = RowFile(np.dtype(np.int32), (packing.top.stored,))
    return Entry(files, {"sizes": {name: packing.size for name, packing in packings.items()}})


def _packed(packings: Packings, block: Outputs, first: int) -> dict[str, Array]:
    """The rows from `first` on, by file."""
    found = {}
    for name, (numbers_file, indices_file) in _files(packings).items():
        numbers, indices = packings[name].pack(block[name], first)
        found[numbers_file] = numbers.numpy()
        if indices_file is not None and indices is not None:
            found[indices_file] = indices.numpy()
    return found


def _outputs(packings: Packings, files: Mapping[str, Tensor]) -> dict[str, Stored]:
    outputs: dict[str, Stored] = {}
    for name, (numbers, indices) in _files(packings).items():
        top = packings[name].top
        outputs[name] = files[numbers] if top is None or indices is None else TopK(files[numbers], files[indices], top)
    return outputs
