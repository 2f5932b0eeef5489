"""Noise: independent normal numbers added to every number of a row."""

from math import prod

from torch import Tensor

from app.contracts.specs.views import NoiseView
from workers.engine.data.augment.draws import Draws
from workers.engine.data.augment.quantiles import normal


def noise(x: Tensor, draws: Draws, spec: NoiseView) -> Tensor:
    """X + std · ε for x [n, …], ε standard normal as the table of 65,536 values has it."""
    places = draws.shorts(prod(x.shape[1:]), x.device)
    epsilon = normal(x.dtype, x.device).index_select(0, places.flatten()).reshape(x.shape)
    # Two roundings, never one: a fused multiply-add gives other bits on some devices.
    return epsilon.mul_(spec.std).add_(x)
