"""A dataset in memory: rows as tensors, targets with their missing labels, splits as row numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from app.contracts.manifests import InputTransform, OutputSpec, SplitName


@dataclass(frozen=True)
class TargetColumn:
    """One target of all rows.

    `values`: class: int64 [N], -1 is missing; value: float32 [N], NaN is missing; multilabel, vector and teacher:
    float32 [N, size], NaN is missing. `labelled`: bool [N], whether the row has any label of this target.
    """

    kind: str
    size: int
    values: Tensor
    labelled: Tensor
    classes: tuple[str, ...] | None = None
    predicts: OutputSpec | None = None


@dataclass(frozen=True)
class Dataset:
    """Raw inputs as in the file ([N, *shape], uint8 stays uint8), and what a student does to them first.

    `splits` maps names to sorted int64 row numbers; `transforms` has the dataset's scale and, where it asks for
    standardisation, the training split's mean and deviation.
    """

    rows: int
    inputs: Mapping[str, Tensor]
    targets: Mapping[str, TargetColumn]
    splits: Mapping[SplitName, Tensor]
    transforms: Mapping[str, InputTransform]
