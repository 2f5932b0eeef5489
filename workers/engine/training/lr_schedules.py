"""The learning rate as a pure function of the step, so that there is no scheduler state."""

from math import cos, pi
from typing import assert_never

from app.contracts.specs.training import (
    ConstantSchedule,
    CosineSchedule,
    OneCycleSchedule,
    Schedule,
    StepSchedule,
    TrainingSpec,
)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + cos(pi * share))


def factor(schedule: Schedule, share: float) -> float:
    """The factor of the learning rate at `share` (0 to 1) of the scheduled steps.

    constant: 1. cosine (Loshchilov 2017): from 1 to `final`. one_cycle (Smith 2018): from `start` up to 1 over the
    share `rise`, then down to `final`, both by a cosine. step: `gamma` to the power of the milestones passed.
    """
    match schedule:
        case ConstantSchedule():
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


def learning_rate(training: TrainingSpec, step: int, steps: int) -> float:
    """The learning rate of optimizer step `step` (0 to steps - 1): linear warm-up, then the schedule."""
    warmup = min(training.warmup, steps)
    if step < warmup:
        return training.rate * (step + 1) / warmup
    scheduled = steps - warmup
    share = (step - warmup) / max(1, scheduled - 1)
    return training.rate * factor(training.schedule, share)
