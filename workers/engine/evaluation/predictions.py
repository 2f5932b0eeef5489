"""Predictions files: the outputs of teacher, student and control for each row, one npz for each split.

Members: `<split>/row` (int64 [n]: row numbers of the dataset) and, for each task, `<split>/<task>/label` (as in the
dataset; absent without labels) and `<split>/<task>/{teacher,student,control,baseline}` (float32 [n, size]: raw scores,
and numbers in the units of their labels; the teacher is the weighted mean of the task's teachers, NaN where none has an
output; the baseline is the single-task model where one was trained). Labels of tokens are [n, tokens], -1 where
missing and -2 where there is no token, and scores [n, tokens, size]. Numbers are float64 where float32 would round away
their differences. Where a task has several teachers, the test file has each as `<task>/teacher-0`, `teacher-1` …, in
the order of the spec; their mean is log-probabilities of classes and probabilities of labels. What the raw scores of a
teacher are is `output` of its entry in the report; those of other parties are logits.

The test file has the student's quantized files as `<task>/student_int8` and `<task>/student_fp16`.

All figures of a report on test rows, except those of corrupted rows, follow from the test file to the rounding of
float64: `tests/engine/jobs/test_recomputed_figures.py` computes each of them from it.

With several seeds the test split has `test/<task>/{students,controls,baselines}` (as above, [n, seeds, size], in the
order of the report's verdicts), from which every interval can be computed again; `student` and `control` are the
exported ones, `baseline` is that of the first seed.

With several datasets `<split>/dataset` (int64 [n]) is the index of a row's dataset in the job's order, and
`<split>/row` its row number there. Members are not compressed and all timestamps are fixed, so that equal predictions
give equal bytes. Read it with `numpy.load`.
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

from app.contracts.resources.splits import SplitName
from app.contracts.wire.orders import PREDICTIONS_ROLES

_EPOCH = (1980, 1, 1, 0, 0, 0)
_COPY_BYTES = 1 << 20


class _Member:
    """An array that is written to disk block by block, before its length is known."""

    def __init__(self, path: Path, first: NDArray[np.generic]) -> None:
        self.path = path
        self.dtype, self.row_shape, self.rows = first.dtype, first.shape[1:], 0
        self._file = path.open("wb")

    def append(self, block: NDArray[np.generic]) -> None:
        """Append rows. Raises ValueError unless dtype and row shape are those of the first block."""
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


class PredictionsFiles:
    """Writes `<folder>/predictions-<split>.npz` block by block in bounded memory; no file is left if `with` raises.

    Blocks are first written to `<folder>/predictions.parts/`, as an npz holds one array after another. `firsts`: the
    first row of each dataset in the joined rows, with several datasets.
    """

    def __init__(self, folder: Path, firsts: Sequence[int] = ()) -> None:
        self._folder = folder
        self._firsts = torch.tensor(list(firsts), dtype=torch.int64)
        self._parts = folder / "predictions.parts"
        self._members: dict[SplitName, dict[str, _Member]] = {}

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits with rows, each of which has a file."""
        return tuple(self._members)

    def __enter__(self) -> Self:
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(parents=True)
        return self

    def append(self, split: SplitName, rows: Tensor, tasks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Append a block of a split: `rows` (joined row numbers, int64 [n]), and for each task its columns by party."""
        if len(self._firsts):
            datasets = torch.searchsorted(self._firsts, rows, right=True) - 1
            self._append(split, "dataset", datasets)
            rows = rows - self._firsts[datasets]
        self._append(split, "row", rows)
        for task, parties in tasks.items():
            for party, values in parties.items():
                self._append(split, f"{task}/{party}", values)

    def _append(self, split: SplitName, name: str, values: Tensor) -> None:
        block = values.detach().cpu().numpy()
        members = self._members.setdefault(split, {})
        if name not in members:
            members[name] = _Member(self._parts / f"{split}-{len(members)}", block)
        members[name].append(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for members in self._members.values():
                for member in members.values():
                    member.close()
            if kind is None:
                self._assemble()
        finally:
            shutil.rmtree(self._parts, ignore_errors=True)

    def _assemble(self) -> None:
        """Write the members of each split into a zip, then move all files to their final paths."""
        names = [f"{PREDICTIONS_ROLES[split]}.npz" for split in self._members]
        for name, (split, members) in zip(names, self._members.items(), strict=True):
            with zipfile.ZipFile(self._parts / name, "w", zipfile.ZIP_STORED) as archive:
                for member in sorted(members):
                    entry = zipfile.ZipInfo(f"{split}/{member}.npy", _EPOCH)
                    entry.create_system, entry.external_attr = 3, 0o644 << 16
                    with archive.open(entry, "w", force_zip64=True) as target:
                        members[member].copy_to(target)
        for name in names:
            (self._parts / name).replace(self._folder / name)
