"""The input transform of a model: scale and standardise raw rows."""

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform


def _column(statistic: float | tuple[float, ...], like: Tensor) -> Tensor:
    """One number, one for each element of a row's first dimension, or one for each number of a row, shaped to broadcast
    over [N, *row].
    """
    values = torch.tensor(statistic, dtype=torch.float32, device=like.device)
    if values.dim() == 0:
        return values
    row = like.shape[1:]
    return values.reshape(-1, *[1] * (len(row) - 1)) if len(values) == row[0] else values.reshape(row)


def apply(raw: Tensor, transform: InputTransform) -> Tensor:
    """(raw * scale - mean) / std in float32; `raw` [N, *row] of any number type, on any device."""
    x = raw.to(torch.float32) * transform.scale
    if transform.mean == 0.0 and transform.std == 1.0:
        return x
    return (x - _column(transform.mean, x)) / _column(transform.std, x)


def invert(x: Tensor, transform: InputTransform) -> Tensor:
    """The inverse of `apply`: (x * std + mean) / scale in float32, for x [N, *row]."""
    if transform.mean == 0.0 and transform.std == 1.0:
        return x / transform.scale
    return (x * _column(transform.std, x) + _column(transform.mean, x)) / transform.scale
