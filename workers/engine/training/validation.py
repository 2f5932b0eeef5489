"""Evaluation of a learner on the validation split, by which epochs are selected."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import torch

from app.contracts.problems import UserError
from app.contracts.specs.distillation import TaskKind
from app.contracts.specs.supervision.metrics import METRICS, MetricName, as_score
from app.contracts.specs.training import TrainingSettings
from app.contracts.wire.events import MetricPoint
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.rows.columns import Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.evaluation.metrics.task_metrics import Metrics, score, task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.tasks.task import Task
from workers.engine.training.batch import StepOutputs
from workers.engine.training.interface import NetworkLearner


@dataclass(frozen=True)
class Validation:
    """Loss (weighted as in training) and metrics by task; `loss` is None where no term is defined on any row."""

    loss: float | None
    metrics: dict[str, Metrics]

    def score(self, tasks: Sequence[Task], training: TrainingSettings) -> float | None:
        """The selection score, higher is better: the mean over the tasks of their scores or of the metric that the spec
        names, or minus the loss where the spec selects by loss or there are no labels; None where there is no loss
        either. A single-task baseline without the named metric is scored by its task's own.

        Raises UserError `metric_undefined`.
        """
        by_loss = -self.loss if self.loss is not None else None
        if training.select_by == "loss":
            return by_loss
        name = training.selection_metric
        measured = {t.name: (self.metrics[t.name], t.spec.kind) for t in tasks if self.metrics.get(t.name)}
        named = {task: each for task, each in measured.items() if name is not None and name in METRICS[each[1]]}
        scores = [selection_score(metrics, kind, name, task) for task, (metrics, kind) in named.items()]
        scores = scores or [score(metrics, kind) for metrics, kind in measured.values()]
        return sum(scores) / len(scores) if scores and all(map(isfinite, scores)) else by_loss

    def points(self, prefix: str, step: int, epoch: int) -> list[MetricPoint]:
        """The points of a learner's series `validation/…`; `prefix` is that of its series."""
        values: list[tuple[str, float | None]] = [(f"{prefix}validation/loss", _finite(self.loss))]
        for task, metrics in self.metrics.items():
            values += [
                (f"{prefix}validation/{task}/{name}", value) for name, value in metrics.items() if name != "rows"
            ]
        return [MetricPoint(series=series, step=step, epoch=epoch, value=value) for series, value in values]


def selection_score(metrics: Metrics, kind: TaskKind, name: MetricName | None, task: str) -> float:
    """The score of a task, higher is better: a named metric, or that of its kind.

    Minus infinity where nothing is finite, as in a diverged model. Raises UserError `metric_undefined` where only the
    named metric is undefined, which then is so in every epoch.
    """
    if name is None:
        return score(metrics, kind)
    value = metrics.get(name)
    if value is not None:
        return as_score(name, value)
    if all(each is None for metric, each in metrics.items() if metric not in (name, "rows")):
        return -inf
    raise UserError(
        "metric_undefined",
        f"`{name}` of `{task}` is undefined on the labels of the validation rows (the AUROC of one class, R² of "
        "a constant): give a validation split with other labels, or another `training.select_by`",
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def validate(learner: NetworkLearner, inputs: Inputs, rows: Rows, *, ranking: bool = False) -> Validation:
    """Evaluate a learner on `rows`, in evaluation mode; `ranking` includes auroc, which takes longer."""
    with evaluating(learner.network):
        blocks = _predicted(learner, inputs, rows)
        loss = _loss(learner, blocks, rows)
    return Validation(loss, _metrics(learner, blocks, rows, ranking=ranking))


def training_metrics(learner: NetworkLearner, inputs: Inputs, rows: Rows) -> dict[str, Metrics]:
    """Metrics by task on some training rows, as they are without augmentation, in evaluation mode."""
    with evaluating(learner.network):
        blocks = _predicted(learner, inputs, rows)
    return _metrics(learner, blocks, rows, ranking=False)


def _predicted(learner: NetworkLearner, inputs: Inputs, rows: Rows) -> list[tuple[Rows, StepOutputs]]:
    parts = rows.split(BLOCK)
    return [(part, learner.predict(x)) for part, x in zip(parts, inputs.each(parts), strict=True)]


def _metrics(
    learner: NetworkLearner, blocks: Sequence[tuple[Rows, StepOutputs]], rows: Rows, *, ranking: bool
) -> dict[str, Metrics]:
    outputs = {
        task.name: torch.cat([block.outputs[task.name] for _, block in blocks]).float() for task in learner.tasks
    }
    return {
        task.name: task_metrics(outputs[task.name].cpu(), task.spec, task.target, rows.host, ranking=ranking)
        for task in learner.tasks
        if task.target is not None
    }


def _loss(learner: NetworkLearner, blocks: Sequence[tuple[Rows, StepOutputs]], rows: Rows) -> float | None:
    """The loss with the terms' weights of the end of training, so that epochs are comparable whatever their phase, and
    without row weights. Terms that compare rows compare those of a block.
    """
    total, counted = torch.zeros((), device=rows.device.device), False
    for task in learner.tasks:
        all_counts = [int(term.counted[rows.host].sum()) for term in task.terms]
        for part, outputs in blocks:
            counts = [int(term.counted[part.host].sum()) for term in task.terms]
            inputs = replace(outputs.of(task, 1.0), weighted=False)
            for term, weight, count, all_rows in zip(task.terms, task.weights(1.0), counts, all_counts, strict=True):
                if count == 0 or weight == 0.0:
                    continue
                losses = term.losses(inputs, part)
                summed = losses * count if term.relational else losses.sum()
                total = total + task.weight * weight * summed / all_rows
                counted = True
    return float(total) if counted else None
