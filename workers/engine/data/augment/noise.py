"""Gaussian noise, drawn independently for every number of a row."""

from math import prod

from torch import Tensor

from app.contracts.specs.views import NoiseView
from workers.engine.data.augment.draws import Draws
from workers.engine.data.augment.quantiles import normal


def noise(x: Tensor, draws: Draws, spec: NoiseView) -> Tensor:
    """X + std · ε for x [n, …], with ε from a table of 65,536 quantiles of the standard normal distribution."""
    indices = draws.shorts(prod(x.shape[1:]), x.device)
    epsilon = normal(x.dtype, x.device).index_select(0, indices.flatten()).reshape(x.shape)
    # Two operations with a rounding each: a fused multiply-add would give other bits on some devices.
    return epsilon.mul_(spec.std).add_(x)
