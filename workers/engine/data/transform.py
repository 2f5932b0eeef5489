"""The input transform of a model: scale and standardise raw rows."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.row_layouts import is_large_offset, is_resized, rows_shape


def _column(statistic: float | tuple[float, ...], like: Tensor) -> Tensor:
    """One number, one for each element of a row's first dimension, or one for each number of a row, shaped to broadcast
    over [N, *row].
    """
    values = torch.tensor(statistic, dtype=like.dtype, device=like.device)
    if values.dim() == 0:
        return values
    row = like.shape[1:]
    return values.reshape(-1, *[1] * (len(row) - 1)) if len(values) == row[0] else values.reshape(row)


def apply(raw: Tensor, transform: InputTransform, dtype: torch.dtype = torch.float32) -> Tensor:
    """(raw * scale - mean) / std in `dtype`, float32 or float64; `raw` [N, *row] of any number type, on any device.

    Computed in float64 where `dtype` or `raw` is float64 or the mean is far from zero: rows are centred before they are
    rounded.
    """
    wide = torch.float64 in (dtype, raw.dtype) or is_large_offset(transform.mean, transform.std)
    x = raw.to(torch.float64 if wide else torch.float32) * transform.scale
    if transform.mean == 0.0 and transform.std == 1.0:
        return x.to(dtype)
    return ((x - _column(transform.mean, x)) / _column(transform.std, x)).to(dtype)


def apply_in_shape(
    raw: Tensor, transform: InputTransform, shape: tuple[int, ...] | None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Raw rows [n, …] as a model with rows of `shape` takes them: brought into its shape, transformed to `dtype` and,
    where it has its channels last, moved. None: the shape of the rows.
    """
    if transform.tokens is not None:  # of any width up to the longest that the model reads
        return raw.to(dtype)
    if shape is not None and is_resized(transform, raw.shape[1:], rows_shape(transform, shape)):
        raw = resized(raw, rows_shape(transform, shape)[1:], transform.resize or "bilinear")
    # In the model's shape before the transform: its statistics are those of its channels, not of a flat row's numbers.
    # `shape[0]`, as `len` would fix the batch size of an exported graph.
    rows = raw if shape is None else raw.reshape(raw.shape[0], *rows_shape(transform, shape))
    x = apply(rows, transform, dtype)
    return x.movedim(1, -1).contiguous() if transform.layout == "channels_last" else x


def resized(images: Tensor, size: Sequence[int], interpolation: str) -> Tensor:
    """Images [n, C, H, W] of any number type at `size` [height, width], in float32: with antialiasing, as Pillow does.

    Pixels of 8 bits are rounded and stay between 0 and 255, as those of a library that resizes image files.
    """
    if list(images.shape[2:]) == list(size):
        return images
    found = interpolate(images.float(), tuple(size), mode=interpolation, antialias=True, align_corners=False)
    return found.round().clamp(0.0, 255.0) if images.dtype == torch.uint8 else found


def invert(x: Tensor, transform: InputTransform, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of `apply`: (x * std + mean) / scale in `dtype`, float32 or float64, for x [N, *row]."""
    x = x.to(dtype)
    if transform.mean == 0.0 and transform.std == 1.0:
        return x / transform.scale
    return (x * _column(transform.std, x) + _column(transform.mean, x)) / transform.scale
