"""How a member does on the validation split: what epochs are selected by. Never the test split."""

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from app.contracts.events import MetricPoint
from app.contracts.training import TrainingSpec
from workers.engine.data.columns import Rows
from workers.engine.data.inputs import Inputs
from workers.engine.evaluation.metrics import Metrics, score, task_metrics
from workers.engine.evaluation.modes import evaluating
from workers.engine.evaluation.parties import BLOCK
from workers.engine.members import Member


@dataclass(frozen=True)
class Validation:
    """Loss (weighted as in training) and metrics by task; `loss` is None where no row of the split counts."""

    loss: float | None
    metrics: dict[str, Metrics]

    def score(self, member: Member, training: TrainingSpec) -> float | None:
        """Higher is better: the mean of the tasks' scores, or minus the loss where asked or nothing is labelled; None
        where there is neither label nor loss to go by.
        """
        scores = [score(self.metrics[t.name], t.spec.kind) for t in member.tasks if self.metrics.get(t.name)]
        if training.select_by == "loss" or not scores or not all(map(isfinite, scores)):
            return -self.loss if self.loss is not None else None
        return sum(scores) / len(scores)

    def points(self, member: Member, step: int, epoch: int) -> list[MetricPoint]:
        """As metric series `validation/…`."""
        start = f"{member.prefix}validation/"
        found: list[tuple[str, float | None]] = [(f"{start}loss", _finite(self.loss))]
        for task, metrics in self.metrics.items():
            found += [(f"{start}{task}/{name}", value) for name, value in metrics.items() if name != "rows"]
        return [MetricPoint(series=series, step=step, epoch=epoch, value=value) for series, value in found]


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _outputs(member: Member, inputs: Inputs, rows: Rows) -> dict[str, Tensor]:
    blocks = [member.network(inputs.take(part)) for part in rows.split(BLOCK)]
    return {task.name: torch.cat([block[task.name] for block in blocks]).float() for task in member.tasks}


def validate(member: Member, inputs: Inputs, rows: Rows) -> Validation:
    """Evaluate a member on `rows`; running statistics do not move."""
    with evaluating(member.network):
        outputs = _outputs(member, inputs, rows)
        total = torch.zeros((), device=rows.device.device)
        counted = False
        for task in member.tasks:
            counts = [int(term.counted[rows.host].sum()) for term in task.terms]
            loss, _ = task.loss(outputs[task.name], rows, counts)
            if loss is not None:
                total = total + task.weight * loss
                counted = True
    metrics = {
        task.name: task_metrics(outputs[task.name].cpu(), task.spec, task.target, rows.host, ranking=False)
        for task in member.tasks
        if task.target is not None
    }
    return Validation(float(total) if counted else None, metrics)
