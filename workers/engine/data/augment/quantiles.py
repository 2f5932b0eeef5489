"""Distributions as tables of 65,536 equally likely values: a lookup is exact on every device.

The i-th value is the quantile at (i + ½) / 65,536.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

SIZE = 1 << 16
_LEVELS = (np.arange(SIZE // 2) + 0.5) / SIZE
"""Levels of the lower half; the upper half mirrors it, as both distributions are symmetric. (Not a tensor: importing
the engine must not run an operation of torch, or forked processes would hang.)"""
_SHARE_BITS = 24
_REACH = 40.0
_STEPS = 1 << 17


@lru_cache(maxsize=8)
def normal(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Standard normal [65,536], scaled to variance 1; its ends, at ±4.3, represent the tails."""
    lower = torch.special.ndtri(torch.from_numpy(_LEVELS))
    values = torch.cat([lower, -lower.flip(0)])
    return (values / values.square().mean().sqrt()).to(device, dtype)


@lru_cache(maxsize=16)
def beta(alpha: float) -> Tensor:
    """Beta(α, α), float64 [65,536] on the host, in multiples of 2⁻²⁴: λ and 1 − λ are exact in float32.

    In y = log(λ / (1 − λ)) the density is exp(α·(y − 2·log(1 + eʸ))) up to a constant: smooth for every α, where
    that of λ has poles for α < 1. It is integrated from y = −40 (trapezoidal rule; the mass below is e^(−40α) / α) to
    the median at y = 0, and inverted by interpolation.
    """
    y = np.linspace(-_REACH, 0.0, _STEPS + 1)
    density = np.exp(alpha * (y - 2.0 * np.log1p(np.exp(y))))
    steps = (density[1:] + density[:-1]) * (0.5 * _REACH / _STEPS)
    mass = np.exp(-alpha * _REACH) / alpha + np.concatenate([[0.0], np.cumsum(steps)])
    logits = np.interp(_LEVELS, mass / (2.0 * mass[-1]), y)
    lower = torch.from_numpy(np.round(2.0**_SHARE_BITS / (1.0 + np.exp(-logits))) / 2.0**_SHARE_BITS)
    return torch.cat([lower, 1.0 - lower.flip(0)])
