"""How a learner does on the validation split: what epochs are selected by. Never the test split."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import assert_never

import torch

from app.contracts.specs.training import TrainingSpec
from app.contracts.wire.events import MetricPoint
from workers.engine.common.eval_mode import evaluating
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.evaluation.metrics.task_metrics import Metrics, score, task_metrics
from workers.engine.evaluation.parties import BLOCK
from workers.engine.training.batch import StepOutputs
from workers.engine.training.interface import NetworkLearner


@dataclass(frozen=True)
class Validation:
    """Loss (weighted as in training) and metrics by task; `loss` is None where no row of the split counts."""

    loss: float | None
    metrics: dict[str, Metrics]

    def score(self, learner: NetworkLearner, training: TrainingSpec) -> float | None:
        """Higher is better: the mean of the tasks' scores, or minus the loss where that selects or nothing is labelled;
        None where there is neither.
        """
        by_loss = -self.loss if self.loss is not None else None
        scores = [score(self.metrics[t.name], t.spec.kind) for t in learner.tasks if self.metrics.get(t.name)]
        match training.select_by:
            case "loss":
                return by_loss
            case "metric" | "last":
                return sum(scores) / len(scores) if scores and all(map(isfinite, scores)) else by_loss
            case _:
                assert_never(training.select_by)

    def points(self, learner: NetworkLearner, step: int, epoch: int) -> list[MetricPoint]:
        """As metric series `validation/…`."""
        start = f"{learner.prefix}validation/"
        found: list[tuple[str, float | None]] = [(f"{start}loss", _finite(self.loss))]
        for task, metrics in self.metrics.items():
            found += [(f"{start}{task}/{name}", value) for name, value in metrics.items() if name != "rows"]
        return [MetricPoint(series=series, step=step, epoch=epoch, value=value) for series, value in found]


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def validate(learner: NetworkLearner, inputs: Inputs, rows: Rows) -> Validation:
    """Evaluate a learner on `rows`; running statistics do not move."""
    with evaluating(learner.network):
        blocks = [(part, learner.predict(inputs.take(part))) for part in rows.split(BLOCK)]
        loss = _loss(learner, blocks, rows)
    outputs = {
        task.name: torch.cat([block.outputs[task.name] for _, block in blocks]).float() for task in learner.tasks
    }
    metrics = {
        task.name: task_metrics(outputs[task.name].cpu(), task.spec, task.target, rows.host, ranking=False)
        for task in learner.tasks
        if task.target is not None
    }
    return Validation(loss, metrics)


def _loss(learner: NetworkLearner, blocks: Sequence[tuple[Rows, StepOutputs]], rows: Rows) -> float | None:
    """The loss, block by block, weighted as at the end of training, so that epochs of all phases compare; terms that
    compare rows compare those of a block.
    """
    total, counted = torch.zeros((), device=rows.device.device), False
    for task in learner.tasks:
        whole = [int(term.counted[rows.host].sum()) for term in task.terms]
        for part, answers in blocks:
            counts = [int(term.counted[part.host].sum()) for term in task.terms]
            seen = answers.of(task, 1.0)
            for term, weight, count, all_rows in zip(task.terms, task.weights(1.0), counts, whole, strict=True):
                if count == 0 or weight == 0.0:
                    continue
                losses = term.losses(seen, part)
                summed = losses * count if term.relational else losses.sum()
                total = total + task.weight * weight * summed / all_rows
                counted = True
    return float(total) if counted else None
