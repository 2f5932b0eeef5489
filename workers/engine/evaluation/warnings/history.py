"""The evaluations of a learner on the validation split, as its warnings need them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from app.contracts.specs.distillation import TaskKind
from app.contracts.specs.supervision.metrics import CLASS_KINDS, POSITION_KINDS
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.labels import labelled_part
from workers.engine.evaluation.metrics.task_metrics import Metrics


def label_loss(metrics: Metrics, kind: TaskKind) -> float | None:
    """The loss of a task on labels, whatever its terms: −log p in nats of classes and labels, the mean squared error of
    values and vectors. None where it is undefined.
    """
    if kind in (*CLASS_KINDS, "multilabel"):
        return metrics.get("nll")
    rmse = metrics.get("rmse")
    return None if rmse is None else rmse**2


def label_losses(metrics: Mapping[str, Metrics], kinds: Mapping[str, TaskKind]) -> dict[str, float]:
    """`label_loss` by task, without those where it is undefined."""
    losses = {name: label_loss(measured, kinds[name]) for name, measured in metrics.items()}
    return {name: loss for name, loss in losses.items() if loss is not None}


def constant_loss(target: TargetColumn, kind: TaskKind, train: Tensor, rows: Tensor) -> float | None:
    """`label_loss` on `rows` of the best constant prediction on the rows `train`, int64 both: the shares of the classes
    (with one row added to each, so that none is 0), of each label, or the means. None without labels.
    """
    of_train, of_rows = labelled_part(target, train)[1], labelled_part(target, rows)[1]
    if len(of_train) == 0 or len(of_rows) == 0:
        return None
    if kind in POSITION_KINDS:
        of_train, of_rows = of_train[of_train >= 0].long(), of_rows[of_rows >= 0].long()
    if kind in CLASS_KINDS:
        counts = torch.bincount(of_train, minlength=target.size).double() + 1.0
        return float(-(counts / counts.sum()).log()[of_rows].mean())
    known, labels = of_train.double().reshape(len(of_train), -1), of_rows.double().reshape(len(of_rows), -1)
    if kind == "multilabel":
        p = (known.nansum(0) + 1.0) / ((~known.isnan()).sum(0) + 2.0)
        return float(-(labels * p.log() + (1.0 - labels) * (1.0 - p).log()).nanmean())
    return float((labels - known.nanmean(0)).square().nanmean())


@dataclass(frozen=True)
class Point:
    """One evaluation after so many steps: the selection score, and `label_loss` by task."""

    step: int
    score: float | None
    losses: Mapping[str, float]


@dataclass(frozen=True)
class History:
    """The evaluations of a learner in order, and its `label_loss` by task on training rows after the last step."""

    points: tuple[Point, ...] = ()
    train: Mapping[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """What a file keeps, as JSON."""
        return {"points": points_document(self.points), "train": dict(self.train)}

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> Self:
        """The inverse of `document`; empty for None, as in a file of an older version."""
        if document is None:
            return cls()
        return cls(tuple(points_of(document["points"])), document["train"])

    def curve(self, priors: Mapping[str, float]) -> list[tuple[int, float]]:
        """(step, mean over tasks of the loss relative to that of a constant prediction) of each evaluation that has
        all of the losses.
        """
        pairs = [(point.step, relative(point.losses, priors)) for point in self.points]
        return [(step, loss) for step, loss in pairs if loss is not None]


def relative(losses: Mapping[str, float], priors: Mapping[str, float]) -> float | None:
    """The mean over tasks of loss / prior; None where one is missing or not finite, and without tasks."""
    shares = [losses.get(name, math.nan) / prior for name, prior in priors.items() if prior > 0.0]
    mean = sum(shares) / len(shares) if shares else math.nan
    return mean if math.isfinite(mean) else None


def points_document(points: Sequence[Point]) -> list[Any]:
    """Evaluations as JSON."""
    return [[point.step, point.score, dict(point.losses)] for point in points]


def points_of(document: Sequence[Any]) -> list[Point]:
    """The inverse of `points_document`."""
    return [Point(step, score, losses) for step, score, losses in document]
