"""The series of what changes with the step and is no result: learning rate, temperatures. A point each validation."""

from collections.abc import Sequence

import torch

from app.contracts.wire.events import MetricPoint
from workers.engine.losses.soft_target_losses import ClassSoftTargets, LabelSoftTargets, PositionSoftTargets
from workers.engine.losses.temperature import TemperatureSchedule
from workers.engine.tasks.task import Task


def rate_point(prefix: str, rate: float, step: int, epoch: int) -> MetricPoint:
    """The learning rate of the step before; `prefix` is that of the learner's series."""
    return MetricPoint(series=f"{prefix}train/learning_rate", step=step, epoch=epoch, value=rate)


def temperature_points(prefix: str, tasks: Sequence[Task], progress: float, step: int, epoch: int) -> list[MetricPoint]:
    """The temperatures that are scheduled or learned, after this share of the steps, by task and term."""
    return [
        MetricPoint(
            series=f"{prefix}train/{task.name}/{term.name}/temperature",
            step=step,
            epoch=epoch,
            value=_number(term.temperature, progress),
        )
        for task in tasks
        for term in task.terms
        if isinstance(term, ClassSoftTargets | PositionSoftTargets | LabelSoftTargets) and _changes(term.temperature)
    ]


def _changes(temperature: TemperatureSchedule) -> bool:
    first = temperature(0.0)
    return isinstance(first, torch.Tensor) or first != temperature(1.0)


@torch.no_grad()
def _number(temperature: TemperatureSchedule, progress: float) -> float:
    return float(temperature(progress))
