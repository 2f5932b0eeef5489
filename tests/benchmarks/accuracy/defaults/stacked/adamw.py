"""AdamW for stacked parameters, with a rate and a decay for each network."""

from collections.abc import Sequence

import torch
from torch import Tensor

FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8
"""torch's own settings, which the engine does not change."""


class StackedAdamW:
    """Parameters [K, …]. The arithmetic of `torch.optim.AdamW` (Loshchilov 2019) and of `clip_grad_norm_`, for each
    network. Decay applies to matrices and kernels, as in the engine.
    """

    def __init__(self, parameters: Sequence[Tensor], decays: Tensor) -> None:
        self._parameters = parameters
        self._decays = decays
        self._first = [torch.zeros_like(parameter) for parameter in parameters]
        self._second = [torch.zeros_like(parameter) for parameter in parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Tensor, clip_norm: float) -> None:
        """One update; `rates` [K]. Gradients are changed in place."""
        if clip_norm > 0.0:
            _clip(gradients, clip_norm)
        self._steps += 1
        correction = 1.0 - FIRST**self._steps
        root = (1.0 - SECOND**self._steps) ** 0.5
        for parameter, gradient, first, second in zip(
            self._parameters, gradients, self._first, self._second, strict=True
        ):
            if parameter.dim() > 2:
                parameter.mul_(_column(1.0 - rates * self._decays, parameter))
            first.lerp_(gradient, 1.0 - FIRST)
            second.mul_(SECOND).addcmul_(gradient, gradient, value=1.0 - SECOND)
            update = first / (second.sqrt().div_(root).add_(EPSILON))
            parameter.sub_(update.mul_(_column(rates / correction, parameter)))


def _clip(gradients: Sequence[Tensor], norm: float) -> None:
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    factors = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(_column(factors, gradient))


def _column(values: Tensor, like: Tensor) -> Tensor:
    """[K] -> [K, 1, …] to broadcast over a stacked parameter."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
