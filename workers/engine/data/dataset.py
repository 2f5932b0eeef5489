"""A dataset in memory: rows as tensors, targets with their missing labels, splits as row numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform, OutputSpec, SplitName
from app.contracts.specs.distillation import TaskKind


@dataclass(frozen=True)
class TargetColumn:
    """One target of all rows.

    `values`: class: int64 [N], -1 is missing; value: float32 [N], NaN is missing; multilabel, vector and teacher:
    float32 [N, size], NaN is missing. `labelled`: bool [N], whether the row has any label of this target.
    """

    kind: TaskKind | Literal["teacher"]
    size: int
    values: Tensor
    labelled: Tensor
    classes: tuple[str, ...] | None = None
    predicts: OutputSpec | None = None


@dataclass(frozen=True)
class Source:
    """A dataset of the job, by its id, whose rows are `first` to `first + rows − 1` of the joined ones.

    `weight` is its share of the batches beside the others; `dtype` that of its raw input, as in its file.
    """

    id: str
    first: int
    rows: int
    weight: float
    dtype: torch.dtype

    def among(self, rows: Tensor) -> Tensor:
        """Those of `rows` (joined numbers, int64) that are its own, in their order."""
        return rows[(rows >= self.first) & (rows < self.first + self.rows)]


@dataclass(frozen=True)
class Dataset:
    """Raw inputs as in the file ([N, *shape], uint8 stays uint8), and what a student does to them first.

    `splits` maps names to sorted int64 row numbers; `transforms` has the dataset's scale and, where it asks for
    standardisation, the training split's mean and deviation. `sources` are the job's datasets whose rows these are, in
    its order; none where a file was read by itself.
    """

    rows: int
    inputs: Mapping[str, Tensor]
    targets: Mapping[str, TargetColumn]
    splits: Mapping[SplitName, Tensor]
    transforms: Mapping[str, InputTransform]
    sources: tuple[Source, ...] = ()
