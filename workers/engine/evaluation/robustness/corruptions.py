"""Corruptions of inputs, to compare the robustness of student and teacher (after Hendrycks and Dietterich 2019).

| name | severity 1, 2, 3 | for |
|---|---|---|
| gaussian_noise | standard deviation 0.04, 0.08, 0.10 of the range, then clipped to it | images, arrays |
| gaussian_blur | σ = 0.4, 0.7, 1.0 pixels up to 32 pixels of the shorter side, in proportion above | images |
| shift | 1/16, 2/16, 3/16 of each side (at least 1, 2, 3 pixels) in one of 8 directions | images |

Noise and blur have the sizes of severities 1, 3 and 5 of CIFAR-10-C, which has no shift. Deviations: pixels are not
rounded to 8 bits, and the three severities of a row are the same corruption at three sizes. Blur and shift use
replicate padding.
"""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from workers.engine.common.seeds import derived_seed
from workers.engine.data.formats.files.encoded import RawRows, parts_of, remembered
from workers.engine.data.rows.blocks import row_blocks
from workers.engine.evaluation.robustness.row_noise import row_normals, row_words
from workers.engine.losses.softmax import widened

SEVERITIES = (1, 2, 3)
_NOISE = (0.04, 0.08, 0.10)
_BLUR = (0.4, 0.7, 1.0)
_BLUR_SIDE = 32
_SHIFT_SHARE = 16
_DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
_KERNEL_SIGMAS = 4.0


def corruptions_of(raw: RawRows) -> tuple[str, ...]:
    """The corruptions that apply: all to images ([n, C, H, W]), noise to other arrays."""
    return ("gaussian_noise", "gaussian_blur", "shift") if raw.dim() == 4 else ("gaussian_noise",)


def value_range(raw: RawRows, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(low, high) of the training rows `rows` (int64 [n]; None: all) of `raw` [N, …], float32 (float64 stays).

    One number for images, shape []; one for each element of a row otherwise, shape [*row], as the columns of a table
    have different units.
    """
    rows = torch.arange(len(raw)) if rows is None else rows
    shape = () if raw.dim() == 4 else tuple(raw.shape[1:])
    low, high = remembered(raw, "range", rows, 2 * math.prod(shape), partial(_ends, raw, rows)).reshape(2, *shape)
    return _floats(low.to(raw.dtype)), _floats(high.to(raw.dtype))


def _ends(raw: RawRows, rows: Tensor) -> Tensor:
    """(low, high) as `value_range`, one after another, float64, which has every number of float32 and of 8 bits."""
    dim = None if raw.dim() == 4 else 0
    blocks = parts_of(raw, row_blocks(raw, rows))
    low, high = torch.aminmax(next(blocks), dim=dim)
    for block in blocks:
        ends = torch.aminmax(block, dim=dim)
        low, high = torch.minimum(low, ends.min), torch.maximum(high, ends.max)
    return torch.stack([low, high]).double().flatten()


def corrupted(
    raw: Tensor, name: str, severity: int, seed: int, rows: Tensor, low: Tensor | float, high: Tensor | float
) -> Tensor:
    """Raw rows ([n, *row], any number type), corrupted: the same shape, float32 (float64 stays).

    `rows` (int64 [n]) are their numbers in the dataset: the corruption of a row is a function of (`seed`, row) alone.
    `low` and `high` are the range of the training rows, broadcast over [n, *row].
    """
    if name not in corruptions_of(raw) or severity not in SEVERITIES:
        expected = f"one of {', '.join(corruptions_of(raw))} at severity 1 to {len(SEVERITIES)}"
        raise ValueError(f"expected {expected} for rows of shape {list(raw.shape[1:])}, found {name} at {severity}")
    x = _floats(raw)
    rows, key = rows.to(x.device), derived_seed(seed, f"corruption/{name}")
    if name == "gaussian_blur":
        return _blurred(x, severity)
    if name == "shift":
        return _shifted(x, severity, key, rows)
    assert name == "gaussian_noise"
    return _noisy(x, severity, key, rows, low, high)


def _floats(values: Tensor) -> Tensor:
    return widened(values) if values.is_floating_point() else values.float()


def _noisy(x: Tensor, severity: int, key: int, rows: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    low, high = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in (low, high))
    noise = row_normals(key, rows, math.prod(x.shape[1:])).reshape(x.shape).to(x.dtype)
    noisy = x + _NOISE[severity - 1] * (high - low) * noise
    return torch.minimum(torch.maximum(noisy, low), high)


def _blurred(x: Tensor, severity: int) -> Tensor:
    sigma = _BLUR[severity - 1] * max(1.0, min(x.shape[2:]) / _BLUR_SIDE)
    return _smoothed(_smoothed(x, sigma, 2), sigma, 3)


def _smoothed(x: Tensor, sigma: float, dim: int) -> Tensor:
    """Gaussian filter along one dimension, by shifted copies: bits of a convolution depend on the batch size."""
    reach = max(1, round(_KERNEL_SIGMAS * sigma))
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-reach, reach + 1)]
    edges = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
    padded, total = pad(x, edges, mode="replicate"), math.fsum(weights)
    smoothed = torch.zeros_like(x)
    for step, weight in enumerate(weights):
        smoothed.add_(padded.narrow(dim, step, x.shape[dim]), alpha=weight / total)
    return smoothed


def _shifted(x: Tensor, severity: int, key: int, rows: Tensor) -> Tensor:
    """Each image shifted by a distance in one of 8 directions, with replicate padding."""
    n, channels, height, width = x.shape
    directions = torch.tensor(_DIRECTIONS, device=x.device)[row_words(key, rows, 1)[:, 0] % len(_DIRECTIONS)]
    down, across = (
        _source_positions(side, _distance(side, severity) * directions[:, k]) for k, side in enumerate((height, width))
    )
    image, channel = (torch.arange(size, device=x.device) for size in (n, channels))
    return x[image[:, None, None, None], channel[:, None, None], down[:, None, :, None], across[:, None, None, :]]


def _distance(side: int, severity: int) -> int:
    return max(severity, round(side * severity / _SHIFT_SHARE))


def _source_positions(side: int, by: Tensor) -> Tensor:
    """The source of each pixel along a side, int64 [n, side], when image i is shifted by `by[i]`."""
    return (torch.arange(side, device=by.device) - by[:, None]).clamp(0, side - 1)
