"""Counts, missing labels and ranges of a target, by split."""

from typing import Any

import torch
from torch import Tensor

from app.contracts.resources.statistics import MOST_COUNTED_CLASSES, TargetStatistics
from app.contracts.specs.supervision.metrics import CLASS_KINDS
from workers.engine.data.dataset import TargetColumn


def target_statistics(column: TargetColumn, rows: Tensor) -> TargetStatistics:
    """The statistics of a target on the rows of a split, int64 [n]."""
    labelled = rows[column.labelled[rows]]
    common: dict[str, Any] = {"rows": len(rows), "labelled": len(labelled), "missing": len(rows) - len(labelled)}
    values = column.values[labelled]
    few = column.size <= MOST_COUNTED_CLASSES
    if column.kind in CLASS_KINDS:
        values = values[values >= 0]  # of every labelled token
        counts = torch.bincount(values, minlength=column.size).tolist() if few else None
        return TargetStatistics.model_validate({**common, "counts": counts})
    if column.kind == "multilabel" and few:
        common["missing_by_label"] = tuple(column.values[rows].isnan().sum(0).tolist())
    numbers = values[~values.isnan()]
    if len(numbers) == 0:
        return TargetStatistics.model_validate(common)
    positives = tuple((values == 1.0).sum(0).tolist()) if column.kind == "multilabel" and few else None
    return TargetStatistics.model_validate(
        {
            **common,
            "positives": positives,
            "minimum": float(numbers.min()),
            "maximum": float(numbers.max()),
            "mean": float(numbers.double().mean()),
        }
    )
