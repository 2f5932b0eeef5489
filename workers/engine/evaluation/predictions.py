"""The predictions file: what teacher, student and control said about each row, as one npz.

Members: `<split>/row` (int64 [n]: row numbers of the dataset) and, for each task, `<split>/<task>/label` (as in the
dataset; absent without labels) and `<split>/<task>/{teacher,student,control,baseline}` (float32 [n, size]: raw scores,
and numbers in the units of their labels; the teacher is the weighted mean of the task's teachers, the baseline the
single-task model where one was trained). Of a job with several datasets `<split>/dataset` (int64 [n]) says which one a
row is of, counted from 0 in the job's order, and `<split>/row` is the row of that one. Nothing is compressed and all
times are fixed, so that equal predictions give equal bytes. Read it with `numpy.load`.
"""

import io
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

_EPOCH = (1980, 1, 1, 0, 0, 0)
_COPY_BYTES = 1 << 20


class _Member:
    """One array that grows by blocks of rows on disk, before its length is known."""

    def __init__(self, path: Path, first: NDArray[np.generic]) -> None:
        self.path = path
        self.dtype, self.row_shape, self.rows = first.dtype, first.shape[1:], 0
        self._file = path.open("wb")

    def append(self, block: NDArray[np.generic]) -> None:
        """Add rows; every block has the dtype and row shape of the first."""
        if block.dtype != self.dtype or block.shape[1:] != self.row_shape:
            expected, found = f"{self.dtype}{self.row_shape}", f"{block.dtype}{block.shape[1:]}"
            raise ValueError(f"expected rows of {expected} as in the first block, found {found}")
        self._file.write(np.ascontiguousarray(block).data if block.size else b"")
        self.rows += len(block)

    def close(self) -> None:
        self._file.close()

    def copy_to(self, target: IO[bytes]) -> None:
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False}
        head = io.BytesIO()
        npy.write_array_header_1_0(head, {**header, "shape": (self.rows, *self.row_shape)})
        target.write(head.getvalue())
        with self.path.open("rb") as source:
            shutil.copyfileobj(source, target, _COPY_BYTES)


class PredictionsFile:
    """Writes a predictions file in blocks, in bounded memory; a `with` block that raises leaves no file.

    Blocks are spooled to `<path>.parts/` first, as an npz holds one array after another. `firsts`: where several
    datasets begin in the rows of the job.
    """

    def __init__(self, path: Path, firsts: Sequence[int] = ()) -> None:
        self._path = path
        self._firsts = torch.tensor(list(firsts), dtype=torch.int64)
        self._parts = path.with_name(f"{path.name}.parts")
        self._members: dict[str, _Member] = {}

    def __enter__(self) -> Self:
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(parents=True)
        return self

    def append(self, split: str, rows: Tensor, tasks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Add a block of one split: `rows` (of the job) int64 [n], and for each task the columns of its parties."""
        if len(self._firsts):
            places = torch.searchsorted(self._firsts, rows, right=True) - 1
            self._append(f"{split}/dataset", places)
            rows = rows - self._firsts[places]
        self._append(f"{split}/row", rows)
        for task, parties in tasks.items():
            for party, values in parties.items():
                self._append(f"{split}/{task}/{party}", values)

    def _append(self, name: str, values: Tensor) -> None:
        block = values.detach().cpu().numpy()
        if name not in self._members:
            self._members[name] = _Member(self._parts / str(len(self._members)), block)
        self._members[name].append(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for member in self._members.values():
                member.close()
            if kind is None:
                self._assemble()
        finally:
            shutil.rmtree(self._parts, ignore_errors=True)

    def _assemble(self) -> None:
        """The parts as one zip, put in place whole."""
        whole = self._parts / "whole.npz"
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(self._members):
                entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                entry.create_system, entry.external_attr = 3, 0o644 << 16
                with archive.open(entry, "w", force_zip64=True) as target:
                    self._members[name].copy_to(target)
        whole.replace(self._path)
