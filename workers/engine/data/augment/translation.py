"""Shift and crop: every image translated by a whole number of pixels of its own.

A crop of the original size from an image padded by p on each side (He, Zhang, Ren, Sun 2016) is a translation by −p to
p pixels along each axis, uniform and independent; so is a shift. Pixels are only gathered, so results are exact.

Deviation: padding is zero in the preprocessed input. Training code based on torchvision pads the raw image with black.
"""

from typing import Literal

import torch
from torch import Tensor

from app.contracts.specs.views import CropView, ShiftView
from workers.engine.data.augment.draws import Draws, below


def shift(x: Tensor, draws: Draws, spec: ShiftView, outside: float = 0.0) -> Tensor:
    """Images x [n, C, H, W], each translated by up to `pixels`; `outside`: what zeros are filled with instead."""
    return translate(x, *_offsets(draws, spec.pixels), "zero", outside)


def crop(x: Tensor, draws: Draws, spec: CropView, outside: float = 0.0) -> Tensor:
    """Images x [n, C, H, W], each padded and cropped; `outside` as in `shift`."""
    return translate(x, *_offsets(draws, spec.padding), spec.fill, outside)


def _offsets(draws: Draws, maximum: int) -> tuple[Tensor, Tensor]:
    down, right = draws.uniforms(2)
    return below(down, 2 * maximum + 1) - maximum, below(right, 2 * maximum + 1) - maximum


def translate(x: Tensor, down: Tensor, right: Tensor, fill: Literal["zero", "reflect"], outside: float = 0.0) -> Tensor:
    """Gather out[i, :, h, w] = x[i, :, h + down_i, w + right_i]; `down` and `right` int64 [n] on the host.

    Outside the image is `outside`, or its reflection without the edge pixels (translations below height and width).
    """
    n, channels, height, width = x.shape
    rows, rows_inside = _sources(down, height, fill, x.device)
    columns, columns_inside = _sources(right, width, fill, x.device)
    indices = (rows[:, :, None] * width + columns[:, None, :]).reshape(n, 1, height * width)
    flat = x.reshape(n, channels, height * width)
    result = flat.gather(2, indices.expand(n, channels, height * width)).reshape(x.shape)
    if fill == "reflect":
        return result
    return result.masked_fill_(~(rows_inside[:, None, :, None] & columns_inside[:, None, None, :]), outside)


def _sources(offsets: Tensor, length: int, fill: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """The source position of each pixel of an axis, int64 [n, length], and whether it is inside the image."""
    unbounded = torch.arange(length) + offsets[:, None]
    last = length - 1
    sources = last - (last - unbounded.abs()).abs() if fill == "reflect" else unbounded.clamp(0, last)
    return sources.to(device, non_blocking=True), (sources == unbounded).to(device, non_blocking=True)
