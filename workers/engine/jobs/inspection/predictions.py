"""The inspection of predictions, against the dataset whose rows they are for."""

from collections.abc import Mapping

import torch

from app.contracts.problems import UserError
from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import DataWarning
from app.contracts.wire.orders import DatasetInput, PredictionsInput
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.predictions.read import read_predictions
from workers.engine.data.quality.statistics import target_statistics
from workers.engine.data.reading import splits_of

Splits = Mapping[SplitName, torch.Tensor]


def inspect_predictions(predictions: PredictionsInput, datasets: Mapping[str, DatasetInput]) -> DatasetFacts:
    """The facts of predictions; `splits` and `labelled` count rows of the dataset. Raises UserError."""
    manifest = predictions.manifest
    dataset = datasets.get(manifest.of)
    if dataset is None or dataset.facts is None:
        raise UserError(
            "not_a_dataset",
            f"expected a dataset with inputs in `of`, found {manifest.of}, which has none: name the one whose rows "
            "were predicted",
        )
    columns, rows = read_predictions(predictions, dataset, dataset.facts.rows)
    splits = splits_of(dataset.parts, dataset.manifest, dataset.facts.rows, dataset.facts.files)
    predicted = torch.stack([column.labelled for column in columns.values()]).any(0)
    return DatasetFacts(
        rows=rows,
        splits={split: int(predicted[places].sum()) for split, places in splits.items()},
        inputs={},
        targets={name: _facts(column, splits) for name, column in columns.items()},
        warnings=tuple(w for name, column in columns.items() if (w := _missing(name, column, splits)) is not None),
        sha256=predictions.sha256,
        of=manifest.of,
    )


def _facts(column: TargetColumn, splits: Splits) -> TargetFacts:
    return TargetFacts(
        kind="teacher",
        size=column.size,
        predicts=column.predicts,
        labelled={split: int(column.labelled[places].sum()) for split, places in splits.items()},
        statistics={split: target_statistics(column, places) for split, places in splits.items()},
    )


def _missing(name: str, column: TargetColumn, splits: Splits) -> DataWarning | None:
    """A warning where rows of the dataset have no output."""
    counts = {split: len(places) - int(column.labelled[places].sum()) for split, places in splits.items()}
    found = [f"{count} of {len(splits[split])} {split}" for split, count in counts.items() if count]
    if not found:
        return None
    message = (
        f"`{name}` has no output for {', '.join(found)} rows of the dataset: they are taught by labels and other "
        "teachers alone, and the teacher is measured on the others; write its outputs for them where that is not meant"
    )
    return DataWarning(code="teacher_rows_missing", message=message, targets=(name,))
