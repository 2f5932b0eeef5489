"""Tensors that the tests of losses share, and formulas written out in numpy's float64."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def drawn(*shape: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    """Random numbers in float64."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * spread)


def fixed(*shape: int, k: int) -> Tensor:
    """Reproducible quarters between -2.5 and 3: ((k·i² + 7·i) mod 23) / 4 − 2.5 for i = 0, 1, 2, …"""
    i = np.arange(int(np.prod(shape)))
    return torch.from_numpy((((k * i * i + 7 * i) % 23) / 4.0 - 2.5).reshape(shape))


def softmax(z: Any) -> Floats:
    """Softmax along the last dimension."""
    z = np.asarray(z, np.float64)
    powers = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def sigmoid(z: Any) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(z, np.float64))))


def kl(p: Any, q: Any) -> float:
    """KL(p ‖ q) of two distributions, with 0 · log 0 = 0."""
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0.0))


def gradient(loss: Tensor, *at: Tensor) -> Tensor:
    """The derivatives of `loss`, flattened one after the other."""
    return torch.cat([found.flatten() for found in torch.autograd.grad(loss, at)])
