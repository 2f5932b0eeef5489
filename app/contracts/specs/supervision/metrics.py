"""The metrics by which epochs can be selected: for which kinds of task, and which direction is better.

The one table of directions. The formulas are in `workers/engine/evaluation/metrics/task_metrics.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from app.contracts.specs.distillation import TaskKind

MetricName = Literal[
    "accuracy", "macro_f1", "entity_f1", "mean_iou", "auroc", "nll", "ece", "brier", "rmse", "mae", "r2", "cosine"
]
Direction = Literal["higher", "lower"]
CLASS_KINDS: Sequence[TaskKind] = ("class", "token_class", "map")
"""Kinds of task that tell exclusive classes apart: of a row, of each token, of each pixel."""
POSITION_KINDS: Sequence[TaskKind] = ("token_class", "map")
"""Those of them with a class for each position of a row."""

DIRECTIONS: Mapping[MetricName, Direction] = {
    "accuracy": "higher",
    "macro_f1": "higher",
    "entity_f1": "higher",
    "mean_iou": "higher",
    "auroc": "higher",
    "nll": "lower",
    "ece": "lower",
    "brier": "lower",
    "rmse": "lower",
    "mae": "lower",
    "r2": "higher",
    "cosine": "higher",
}
"""Which direction of a metric is better."""

METRICS: Mapping[TaskKind, tuple[MetricName, ...]] = {
    "class": ("accuracy", "macro_f1", "auroc", "nll", "ece", "brier"),
    "token_class": ("accuracy", "macro_f1", "entity_f1", "nll"),
    "map": ("mean_iou", "accuracy", "macro_f1", "nll"),
    "multilabel": ("accuracy", "macro_f1", "auroc", "nll"),
    "value": ("rmse", "mae", "r2"),
    "vector": ("rmse", "cosine"),
}
"""The metrics of each kind of task."""


def metrics_of(kinds: Iterable[TaskKind]) -> list[MetricName]:
    """The metrics that tasks of these kinds have, each once."""
    return list(dict.fromkeys(name for kind in kinds for name in METRICS[kind]))


def as_score(name: MetricName, value: float) -> float:
    """A metric as a score of which higher is better."""
    return value if DIRECTIONS[name] == "higher" else -value
