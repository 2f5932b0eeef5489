"""The temperature of a term at a step: fixed, scheduled, or learned.

Learned (CTKD, Li et al. 2023, "Curriculum temperature for knowledge distillation"): a parameter whose gradient is
reversed, so that it makes the term harder while the student makes it easier, ramped up by half a cosine and kept
inside its bounds by a sigmoid. Minimised like a weight it would collapse to 0.
"""

from collections.abc import Callable
from functools import partial
from math import cos, log, pi
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from app.contracts.specs.searches import TemperatureSearch
from app.contracts.specs.temperatures import LearnedTemperature, ScheduledTemperature, Temperature

TemperatureSchedule = Callable[[float], "float | Tensor"]
"""Share of the steps done (0 to 1) -> temperature."""


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None


class AdversarialTemperature(nn.Module):
    """τ = low + (high − low) · sigmoid(θ), with −ramp(t) times the gradient in place of the gradient."""

    def __init__(self, spec: LearnedTemperature) -> None:
        super().__init__()
        self._spec = spec
        share = (spec.start - spec.low) / (spec.high - spec.low)
        self.theta = nn.Parameter(torch.tensor(log(share / (1.0 - share))))

    def forward(self, progress: float) -> Tensor:
        """The temperature, a scalar that is learned."""
        grown = min(1.0, progress / self._spec.ramp)
        theta: Any = _Reverse.apply(self.theta, 0.5 * (1.0 - cos(pi * grown)))  # type: ignore[no-untyped-call]
        learned: Tensor = self._spec.low + (self._spec.high - self._spec.low) * torch.sigmoid(theta)
        return learned


def scheduled(spec: ScheduledTemperature, progress: float) -> float:
    """The temperature after `progress` (0 to 1) of the steps."""
    match spec.schedule:
        case "linear":
            share = progress
        case "cosine":
            share = 0.5 * (1.0 - cos(pi * progress))
        case _:
            assert_never(spec.schedule)
    return spec.start + (spec.end - spec.start) * share


def make_temperature(spec: Temperature | None) -> tuple[TemperatureSchedule, nn.Module | None]:
    """(temperature by progress, what of it is trained). Raises TypeError where it is still to be chosen or
    searched.
    """
    match spec:
        case float() | int():
            return lambda progress: spec, None
        case ScheduledTemperature():
            return partial(scheduled, spec), None
        case LearnedTemperature():
            module = AdversarialTemperature(spec)
            return module, module
        case TemperatureSearch() | None:
            raise TypeError("the temperature is still to be searched or chosen")
        case _:
            assert_never(spec)
