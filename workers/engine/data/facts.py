"""The facts of a dataset, against which job specs are checked."""

from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.facts import DatasetFacts, InputFacts, TargetFacts
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.inputs.maps import MapTarget
from app.contracts.resources.inputs.tagging import TokenClassTarget, labelled_input
from app.contracts.resources.manifests import DatasetManifest, InputSpec
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import WeightStatistics
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.quality.checks import warnings_of
from workers.engine.data.quality.statistics import target_statistics
from workers.engine.data.reading import check_scale
from workers.engine.data.rows.deviation import divisor
from workers.engine.data.rows.specs import spec_of_rows
from workers.engine.data.rows.weights import weight_statistics


def facts_of(dataset: Dataset, manifest: DatasetManifest) -> DatasetFacts:
    """The facts of a dataset, against which job specs are checked. Raises UserError `wrong_scale`."""
    return DatasetFacts(
        rows=dataset.rows,
        splits={name: len(rows) for name, rows in dataset.splits.items()},
        inputs={name: _input_facts(dataset, name, spec) for name, spec in manifest.inputs.items()},
        targets={name: _target_facts(dataset, name, column, manifest) for name, column in dataset.targets.items()},
        weights={name: _weight_facts(dataset, weights) for name, weights in dataset.weights.items()},
        warnings=warnings_of(dataset, manifest),
        files=dict(dataset.files),
    )


def _weight_facts(dataset: Dataset, weights: Tensor) -> dict[SplitName, WeightStatistics]:
    return {split: weight_statistics(weights, rows) for split, rows in dataset.splits.items() if len(rows)}


def _input_facts(dataset: Dataset, name: str, spec: InputSpec) -> InputFacts:
    transform, read = dataset.transforms[name], spec_of_rows(spec)
    way, because = dataset.standardization[name]
    return InputFacts(
        shape=tuple(dataset.inputs[name].shape[1:]),
        layout=read.layout if isinstance(read, ArrayInput) else None,
        scale=transform.scale,
        standardize=way != "none",
        because=because,
        mean=None if way == "none" else _as_tuple(transform.mean),
        std=None if way == "none" else _as_tuple(transform.std),
        encoding=transform.encoding,
        columns=transform.columns,
        raw=dataset.uploaded.inputs[name].form if dataset.uploaded is not None else None,
        column_counts={column: dict(use.counts) for column, use in dataset.uses.get(name, {}).items()},
        tokens=transform.tokens,
    )


def _as_tuple(statistic: float | tuple[float, ...]) -> tuple[float, ...]:
    return statistic if isinstance(statistic, tuple) else (statistic,)


def value_statistics(column: TargetColumn, rows: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of a value target on some rows; (0, 1) without labels, deviation 1 if constant."""
    values = column.values[rows].double()
    values = values[~values.isnan()]
    if len(values) == 0:
        return 0.0, 1.0
    mean = values.mean()
    deviation = (values - mean).square().mean().sqrt()
    return float(mean), float(divisor(deviation, mean, column.values.dtype))


def vector_statistics(column: TargetColumn, rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each number of a vector target on the labelled ones of some rows; (0, 1) without
    labels, deviation 1 for a constant number.
    """
    values = column.values[rows[column.labelled[rows]]].double()
    if len(values) == 0:
        return (0.0,) * column.size, (1.0,) * column.size
    mean = values.mean(0)
    deviation = (values - mean).square().mean(0).sqrt()
    return tuple(mean.tolist()), tuple(divisor(deviation, mean, column.values.dtype).tolist())


def _check_size_of_map(dataset: Dataset, name: str, column: TargetColumn) -> None:
    """Raises UserError `shape_mismatch` where no input has the size of a map whose manifest does not say another."""
    sizes = {tuple(rows.shape[-2:]) for rows in dataset.inputs.values() if rows.dim() == 4}
    if column.shape not in sizes:
        shown = " or ".join(str(list(each)) for each in sorted(sizes)) or "no image"
        raise UserError(
            "shape_mismatch",
            f"the maps of `{name}` have shape {list(column.shape or ())}, and the rows of the inputs {shown}, expected "
            "the same height and width: bring them to the size of the images, or declare another by `shape`",
        )


def _target_facts(dataset: Dataset, name: str, column: TargetColumn, manifest: DatasetManifest) -> TargetFacts:
    spec = manifest.targets.get(name)
    if isinstance(spec, MapTarget) and spec.shape is None:
        _check_size_of_map(dataset, name, column)
    labelled = labelled_input(name, spec, manifest.inputs) if isinstance(spec, TokenClassTarget) else None
    mean, std = value_statistics(column, dataset.splits["train"]) if column.kind == "value" else (None, None)
    if mean is not None and std is not None:
        check_scale(f"target `{name}`", [mean], [std])
    if column.kind == "vector":
        check_scale(f"target `{name}`", *vector_statistics(column, dataset.splits["train"]))
    return TargetFacts.model_validate(
        {
            "kind": column.kind,
            "size": column.size,
            "shape": column.shape,
            "classes": column.classes,
            "input": labelled,
            "predicts": column.predicts,
            "labelled": {name: int(column.labelled[rows].sum()) for name, rows in dataset.splits.items()},
            "mean": mean,
            "std": std,
            "statistics": {name: target_statistics(column, rows) for name, rows in dataset.splits.items()},
        }
    )
