"""Shift and crop: pictures moved by whole pixels, each by its own.

A crop of the old size from a picture padded by p on each side (He, Zhang, Ren, Sun 2016) is a move by −p to p pixels
along each axis, uniform and independent; so is a shift. No pixel is computed, only gathered.

Deviation: the pad's zeros are those of the preprocessed input. Training code around torchvision pads the raw
picture, so there the pad is black.
"""

from typing import Literal

import torch
from torch import Tensor

from app.contracts.specs.views import CropView, ShiftView
from workers.engine.data.augment.draws import Draws, below


def shift(x: Tensor, draws: Draws, spec: ShiftView) -> Tensor:
    """Pictures x [n, C, H, W], each moved by up to `pixels`."""
    return moved(x, *_offsets(draws, spec.pixels), "zero")


def crop(x: Tensor, draws: Draws, spec: CropView) -> Tensor:
    """Pictures x [n, C, H, W], each padded and cropped."""
    return moved(x, *_offsets(draws, spec.padding), spec.fill)


def _offsets(draws: Draws, most: int) -> tuple[Tensor, Tensor]:
    down, right = draws.uniforms(2)
    return below(down, 2 * most + 1) - most, below(right, 2 * most + 1) - most


def moved(x: Tensor, down: Tensor, right: Tensor, fill: Literal["zero", "reflect"]) -> Tensor:
    """Gather out[i, :, h, w] = x[i, :, h + down_i, w + right_i]; `down` and `right` int64 [n] on the host.

    Beyond the edge lie zeros, or the picture mirrored without its edge pixels (moves below height and width).
    """
    n, channels, height, width = x.shape
    rows, rows_inside = _sources(down, height, fill, x.device)
    columns, columns_inside = _sources(right, width, fill, x.device)
    places = (rows[:, :, None] * width + columns[:, None, :]).reshape(n, 1, height * width)
    flat = x.reshape(n, channels, height * width)
    found = flat.gather(2, places.expand(n, channels, height * width)).reshape(x.shape)
    if fill == "reflect":
        return found
    return found.masked_fill_(~(rows_inside[:, None, :, None] & columns_inside[:, None, None, :]), 0.0)


def _sources(offsets: Tensor, length: int, fill: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each pixel of an axis comes from, int64 [n, length], and whether that lies inside the picture."""
    asked = torch.arange(length) + offsets[:, None]
    last = length - 1
    found = last - (last - asked.abs()).abs() if fill == "reflect" else asked.clamp(0, last)
    return found.to(device, non_blocking=True), (found == asked).to(device, non_blocking=True)
