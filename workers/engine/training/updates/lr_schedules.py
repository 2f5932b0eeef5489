"""The learning rate as a pure function of the step, so that there is no scheduler state.

Only `plateau` has one: it follows the validation score of a learner.
"""

from dataclasses import dataclass
from math import cos, inf, isfinite, pi
from typing import Any, assert_never

from app.contracts.specs.training import (
    ConstantSchedule,
    CosineSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
    TrainingSettings,
)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + cos(pi * share))


def factor(schedule: Schedule, share: float) -> float:
    """The factor of the learning rate at `share` (0 to 1) of the scheduled steps.

    constant: 1. cosine (Loshchilov 2017): from 1 to `final`. one_cycle (Smith 2018): from `start` up to 1 over the
    share `rise`, then down to `final`, both by a cosine. step: `gamma` to the power of the milestones passed.
    plateau: 1, as its factor is that of the learner's `Plateau`.
    """
    match schedule:
        case ConstantSchedule() | PlateauSchedule():
            return 1.0
        case CosineSchedule():
            return _cosine(1.0, schedule.final, share)
        case OneCycleSchedule():
            if share < schedule.rise:
                return _cosine(schedule.start, 1.0, share / schedule.rise)
            return _cosine(1.0, schedule.final, (share - schedule.rise) / (1.0 - schedule.rise))
        case StepSchedule():
            passed: int = sum(share >= milestone for milestone in schedule.milestones)
            return float(schedule.gamma**passed)
        case _:
            assert_never(schedule)


def learning_rate(training: TrainingSettings, step: int, steps: int) -> float:
    """The learning rate of optimizer step `step` (0 to steps - 1): linear warm-up, then the schedule."""
    warmup = min(training.warmup, steps)
    if step < warmup:
        return training.rate * (step + 1) / warmup
    scheduled = steps - warmup
    share = (step - warmup) / max(1, scheduled - 1)
    return training.rate * factor(training.schedule, share)


@dataclass
class Plateau:
    """The learning rate of a learner under the schedule `plateau`, after warm-up; `best` is its best score so far.

    The arithmetic of `torch.optim.lr_scheduler.ReduceLROnPlateau` with mode `max`, threshold mode `abs`, cooldown 0 and
    eps 0. A score that is not finite is no improvement.
    """

    schedule: PlateauSchedule
    rate: float
    best: float | None = None
    waited: int = 0
    """Epochs without improvement since then, or since the last reduction."""

    @classmethod
    def of(cls, training: TrainingSettings) -> "Plateau | None":
        """The state before the first epoch; None for other schedules."""
        schedule = training.schedule
        return cls(schedule, training.rate) if isinstance(schedule, PlateauSchedule) else None

    def record(self, score: float) -> None:
        """The score of an epoch, higher is better."""
        best = -inf if self.best is None else self.best
        if isfinite(score) and score > best + self.schedule.min_delta:
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        if self.waited > self.schedule.patience:
            self.rate = min(self.rate, max(self.rate * self.schedule.factor, self.schedule.min_rate))
            self.waited = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"rate": self.rate, "best": self.best, "waited": self.waited}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.rate, self.best, self.waited = state["rate"], state["best"], state["waited"]
