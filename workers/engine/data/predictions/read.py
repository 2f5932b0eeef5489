"""Reads a file of predictions as teacher targets of its dataset's rows."""

from collections.abc import Mapping, Set
from dataclasses import replace

import torch

from app.contracts.problems import UserError, listed
from app.contracts.resources.facts import TargetFacts
from app.contracts.resources.manifests import ClassOutput, TeacherTarget
from app.contracts.resources.predictions import PredictedOutput
from app.contracts.specs.stores import predicted_target
from app.contracts.wire.orders import DatasetInput, Order, PredictionsInput
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.formats.common import Array
from workers.engine.data.formats.files.shards import rows_named
from workers.engine.data.formats.read import read_columns
from workers.engine.data.labels.columns import number_column
from workers.engine.data.predictions.ids import matched_rows
from workers.engine.data.predictions.pairs import expanded


def with_predictions(dataset: Dataset, source: DatasetInput, order: Order, used: Set[str]) -> Dataset:
    """The dataset with the outputs of the order's predictions for its rows, of which `used` names targets."""
    joined = {
        name: column
        for each in order.predictions.values()
        if each.manifest.of == source.id
        for name, column in _named(each, source, dataset.rows, used).items()
    }
    return replace(dataset, targets={**dataset.targets, **joined}) if joined else dataset


def _named(predictions: PredictionsInput, source: DatasetInput, rows: int, used: Set[str]) -> dict[str, TargetColumn]:
    outputs = {name: each for name, each in predictions.manifest.outputs.items() if _target(predictions, name) in used}
    if not outputs:
        return {}
    chosen = predictions.model_copy(update={"manifest": predictions.manifest.model_copy(update={"outputs": outputs})})
    found, _ = read_predictions(chosen, source, rows)
    return {_target(predictions, name): column for name, column in found.items()}


def _target(predictions: PredictionsInput, output: str) -> str:
    return predicted_target(predictions.id, output)


def read_predictions(
    predictions: PredictionsInput, dataset: DatasetInput, rows: int
) -> tuple[dict[str, TargetColumn], int]:
    """(each output for all `rows` of the dataset, NaN where the file has none; the number of rows of the file).

    Raises UserError with a stable code.
    """
    manifest = predictions.manifest
    names = {manifest.id}.union(*(_columns(name, output) for name, output in manifest.outputs.items()))
    texts = {manifest.id}.union(*(_text_columns(output) for output in manifest.outputs.values()))
    file = read_columns(predictions.parts, manifest.file_format, names, texts, manifest.csv)
    with rows_named(file.files):
        places = torch.from_numpy(matched_rows(manifest, file.arrays[manifest.id], dataset, rows))
        found = {name: _column(name, output, file.arrays) for name, output in manifest.outputs.items()}
    targets = dataset.facts.targets if dataset.facts is not None else {}
    for name, column in found.items():
        if name in targets:
            _check_target(name, column, targets[name])
    return {name: _scattered(column, places, rows) for name, column in found.items()}, file.rows


def _columns(name: str, output: PredictedOutput) -> tuple[str, ...]:
    pairs = output.top_k
    return output.columns or (name,) if pairs is None else (*pairs.classes, *pairs.scores)


def _text_columns(output: PredictedOutput) -> tuple[str, ...]:
    named = isinstance(output.predicts, ClassOutput) and output.predicts.classes is not None
    return output.top_k.classes if output.top_k is not None and named else ()


def _column(name: str, output: PredictedOutput, arrays: Mapping[str, Array]) -> TargetColumn:
    """An output as a teacher target of the file's own rows."""
    columns, predicts = _columns(name, output), output.predicts
    numbers = [arrays[column] for column in columns]
    if output.top_k is not None:
        columns, numbers = (name,), [expanded(name, output, arrays)]
        assert isinstance(predicts, ClassOutput)
        predicts = predicts.model_copy(update={"output": "probabilities"})
    target = TeacherTarget(kind="teacher", columns=columns, size=output.size, predicts=predicts)
    column = number_column(name, target, numbers)
    missing = column.values.isnan()
    partly = missing.any(1) & ~missing.all(1)
    if partly.any():
        row = int(partly.nonzero()[0])
        raise UserError(
            "not_finite",
            f"`{name}` is NaN or missing in some numbers of row {row} ({int(partly.sum())} such "
            "rows in all), expected all or none: write every number, or leave the whole row empty",
            row,
        )
    if not column.labelled.any():
        raise UserError(
            "empty_dataset", f"expected numbers in `{name}`, found missing values alone: write the teacher's outputs"
        )
    names = predicts.classes if isinstance(predicts, ClassOutput) else None
    if names is not None and len(names) != column.size:
        raise UserError(
            "shape_mismatch",
            f"`{name}` has {column.size} numbers a row, and `predicts.classes` names {len(names)}: name the class of "
            "each number, in order",
        )
    return column


def _check_target(name: str, column: TargetColumn, target: TargetFacts) -> None:
    """An output that has the name of a target predicts it. Raises UserError."""
    predicts = column.predicts
    assert predicts is not None
    if target.kind == "teacher":
        return
    if predicts.kind != target.kind:
        raise UserError(
            "kind_mismatch",
            f"the dataset's target `{name}` is of kind {target.kind}, the output of kind {predicts.kind}: correct "
            "`predicts`, or give the output another name",
        )
    names = predicts.classes if isinstance(predicts, ClassOutput) else None
    if names is not None and target.classes is not None:
        lacking = [each for each in target.classes if each not in names]
        if lacking:
            raise UserError(
                "class_names_differ",
                f"the dataset's target `{name}` has the classes {listed(lacking)}, which `predicts.classes` does not "
                f"name ({listed(names)}): name them as the dataset does, or give the output another name",
            )
    elif column.size != target.size:
        raise UserError(
            "size_mismatch",
            f"the dataset's target `{name}` has {target.size} numbers in each row, the output {column.size}: name the "
            "classes in `predicts.classes` and in the dataset's manifest, or give the output another name",
        )


def _scattered(column: TargetColumn, places: torch.Tensor, rows: int) -> TargetColumn:
    values = torch.full((rows, column.size), torch.nan, dtype=column.values.dtype)
    labelled = torch.zeros(rows, dtype=torch.bool)
    values[places], labelled[places] = column.values, column.labelled
    return replace(column, values=values, labelled=labelled)
