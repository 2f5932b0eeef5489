"""Reads a file by its manifest into a dataset in memory, and derives the facts about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.facts import DatasetFacts, InputFacts, TargetFacts
from app.contracts.resources.manifests import (
    ArrayInput,
    ClassTarget,
    ColumnSplits,
    DatasetManifest,
    FractionSplits,
    InputTransform,
    MultilabelTarget,
    SplitName,
    TargetSpec,
    TeacherTarget,
    ValueTarget,
    VectorTarget,
)
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.read import read_arrays
from workers.engine.data.labels import class_column, columns_of, number_column
from workers.engine.data.precision import rounded
from workers.engine.data.row_layout import arranged
from workers.engine.data.splits import split_by_column, split_by_fractions

MIN_DEVIATION = 1e-6
"""A standard deviation below this counts as 1: a constant channel is centred and not scaled."""
_ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""A standard deviation below this share of the mean is the rounding of a constant in float64."""
MAX_STATISTIC = 1e30
"""Largest mean or standard deviation that is accepted: that of a manifest."""


def read_dataset(path: Path, manifest: DatasetManifest) -> Dataset:
    """Read, validate and split. Raises UserError with a stable code; the message names the column and row."""
    arrays = read_arrays(path, manifest.format, _columns(manifest), _text_columns(manifest))
    inputs = {name: _input(name, spec, arrays) for name, spec in manifest.inputs.items()}
    targets = {name: _target(name, spec, arrays) for name, spec in manifest.targets.items()}
    rows = len(next(iter(inputs.values())))
    splits = _splits(manifest, rows, arrays, targets)
    train = splits["train"]
    transforms = {name: transform_of(name, inputs[name], spec, train) for name, spec in manifest.inputs.items()}
    return Dataset(rows, inputs, targets, splits, transforms)


def _columns(manifest: DatasetManifest) -> set[str]:
    """The columns that the manifest names."""
    columns = {column for name, spec in manifest.inputs.items() for column in spec.columns or (name,)}
    columns |= {column for name, target in manifest.targets.items() for column in columns_of(name, target)}
    return columns | ({manifest.splits.column} if isinstance(manifest.splits, ColumnSplits) else set())


def _text_columns(manifest: DatasetManifest) -> set[str]:
    """The columns that hold text: class names and splits."""
    named = {
        columns_of(name, target)[0]
        for name, target in manifest.targets.items()
        if isinstance(target, ClassTarget) and not isinstance(target.classes, int)
    }
    return named | ({manifest.splits.column} if isinstance(manifest.splits, ColumnSplits) else set())


def _input(name: str, spec: ArrayInput, arrays: Mapping[str, Array]) -> Tensor:
    columns = [arrays[column] for column in spec.columns or (name,)]
    if any(column.dtype.kind == "U" for column in columns):
        raise UserError("wrong_type", f"input `{name}` holds text, expected numbers")
    if len(columns) > 1 and any(column.size != len(column) for column in columns):
        raise UserError(
            "shape_mismatch",
            f"input `{name}` lists a column with several numbers a row: list only that one",
        )
    raw = columns[0] if len(columns) == 1 else np.stack([column.reshape(len(column)) for column in columns], axis=1)
    raw = raw.reshape(len(raw), *(raw.shape[1:] or (1,)))
    return _tensor(name, arranged(name, spec, raw))


def _tensor(name: str, raw: Array) -> Tensor:
    if raw.dtype == np.uint8:
        return torch.from_numpy(np.require(raw, requirements=["C", "W"]))  # Arrow's memory is read-only
    numbers = rounded(raw)
    finite = np.isfinite(numbers if numbers.dtype == np.float32 else _as_float32(numbers))
    if not finite.all():
        row = int(np.flatnonzero(~finite.reshape(len(numbers), -1).all(1))[0])
        raise UserError(
            "not_finite",
            f"input `{name}` is missing, NaN or infinite (as float32) at row {row}: fill it before uploading",
        )
    return torch.from_numpy(numbers)


def _as_float32(numbers: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return numbers.astype(np.float32)


def _target(name: str, spec: TargetSpec, arrays: Mapping[str, Array]) -> TargetColumn:
    columns = [arrays[column] for column in columns_of(name, spec)]
    match spec:
        case ClassTarget():
            return class_column(name, spec, columns[0])
        case MultilabelTarget() | ValueTarget() | VectorTarget() | TeacherTarget():
            return number_column(name, spec, columns)
        case _:
            assert_never(spec)


def _splits(
    manifest: DatasetManifest, rows: int, arrays: Mapping[str, Array], targets: Mapping[str, TargetColumn]
) -> dict[SplitName, Tensor]:
    match manifest.splits:
        case ColumnSplits():
            return split_by_column(manifest.splits, arrays[manifest.splits.column])
        case FractionSplits():
            stratify = manifest.splits.stratify
            strata = targets[stratify].values.numpy() if stratify is not None else None
            return split_by_fractions(manifest.splits, rows, strata)
        case _:
            assert_never(manifest.splits)


def _wrong_scale(name: str, value: float) -> UserError:
    return UserError(
        "wrong_scale",
        f"{name} has a mean or standard deviation of {value:.3g} on the training split, {MAX_STATISTIC:.0e} at most: "
        "use larger units",
    )


def transform_of(name: str, raw: Tensor, spec: ArrayInput, train: Tensor) -> InputTransform:
    """The dataset's scale and, with `standardize`, the training split's statistics for each element of a row's first
    dimension. Raises UserError `wrong_scale`.
    """
    if not spec.standardize:
        return InputTransform(scale=spec.scale)
    rows = raw[train].double() * spec.scale
    axes = [0, *range(2, rows.dim())]
    mean = rows.mean(dim=axes)
    deviation = (rows - mean.reshape(1, -1, *[1] * (rows.dim() - 2))).square().mean(dim=axes).sqrt()
    deviation = torch.where(deviation < (_ROUNDING * mean.abs()).clamp(min=MIN_DEVIATION), 1.0, deviation)
    largest = float(torch.maximum(mean.abs(), deviation).max())
    if largest > MAX_STATISTIC:
        raise _wrong_scale(f"input `{name}`", largest)
    return InputTransform(scale=spec.scale, mean=tuple(mean.tolist()), std=tuple(deviation.tolist()))


def facts_of(dataset: Dataset, manifest: DatasetManifest) -> DatasetFacts:
    """The facts of a dataset, against which job specs are checked. Raises UserError `wrong_scale`."""
    return DatasetFacts(
        rows=dataset.rows,
        splits={name: len(rows) for name, rows in dataset.splits.items()},
        inputs={name: _input_facts(dataset, name, spec) for name, spec in manifest.inputs.items()},
        targets={name: _target_facts(dataset, name, column) for name, column in dataset.targets.items()},
        warnings=_large_offsets(dataset, manifest),
    )


def _large_offsets(dataset: Dataset, manifest: DatasetManifest) -> tuple[dict[str, str], ...]:
    """A warning for each input that float32 cannot hold and that is not centred before."""
    names = [name for name, raw in dataset.inputs.items() if raw.dtype == torch.float64]
    return tuple(
        {
            "code": "large_offset",
            "message": f"input `{name}` has numbers so far from zero that float32, in which networks compute, rounds "
            "away their differences: set `standardize: true` for it in the manifest, which centres it before",
        }
        for name in names
        if not manifest.inputs[name].standardize
    )


def _input_facts(dataset: Dataset, name: str, spec: ArrayInput) -> InputFacts:
    transform = dataset.transforms[name]
    return InputFacts(
        shape=tuple(dataset.inputs[name].shape[1:]),
        layout=spec.layout,
        scale=spec.scale,
        standardize=spec.standardize,
        mean=transform.mean if isinstance(transform.mean, tuple) else None,
        std=transform.std if isinstance(transform.std, tuple) else None,
    )


def value_statistics(column: TargetColumn, rows: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of a value target on some rows; (0, 1) without labels, deviation 1 if constant."""
    values = column.values[rows].double()
    values = values[~values.isnan()]
    if len(values) == 0:
        return 0.0, 1.0
    mean = float(values.mean())
    deviation = float((values - values.mean()).square().mean().sqrt())
    return mean, deviation if deviation > max(MIN_DEVIATION, _ROUNDING * abs(mean)) else 1.0


def vector_statistics(column: TargetColumn, rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each number of a vector target on the labelled ones of some rows; (0, 1) without
    labels, deviation 1 for a constant number.
    """
    values = column.values[rows[column.labelled[rows]]].double()
    if len(values) == 0:
        return (0.0,) * column.size, (1.0,) * column.size
    mean = values.mean(0)
    deviation = (values - mean).square().mean(0).sqrt()
    least = (_ROUNDING * mean.abs()).clamp(min=MIN_DEVIATION)
    return tuple(mean.tolist()), tuple(torch.where(deviation > least, deviation, 1.0).tolist())


def _target_facts(dataset: Dataset, name: str, column: TargetColumn) -> TargetFacts:
    mean, std = value_statistics(column, dataset.splits["train"]) if column.kind == "value" else (None, None)
    if mean is not None and std is not None and max(abs(mean), std) > MAX_STATISTIC:
        raise _wrong_scale(f"target `{name}`", max(abs(mean), std))
    if column.kind == "vector":
        largest = max(abs(number) for each in vector_statistics(column, dataset.splits["train"]) for number in each)
        if largest > MAX_STATISTIC:
            raise _wrong_scale(f"target `{name}`", largest)
    return TargetFacts.model_validate(
        {
            "kind": column.kind,
            "size": column.size,
            "classes": column.classes,
            "predicts": column.predicts,
            "labelled": {name: int(column.labelled[rows].sum()) for name, rows in dataset.splits.items()},
            "mean": mean,
            "std": std,
        }
    )
