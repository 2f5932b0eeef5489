"""Contrast, brightness and colour by amounts that each row draws, and with rotation of fixed magnitudes (RandAugment,
Cubuk, Zoph, Shlens, Le 2020).

With a = 0.9 · magnitude / 10 and a sign ± of its own, each operation of a row is, with equal chances, one of

    identity   x
    contrast   x · (1 ± a)
    brightness x ± a
    colour     g + (1 ± a) · (x − g), with g the mean of the channels at a pixel
    rotation   by ±30 · magnitude / 10 degrees around the centre, the nearest pixel; zeros where there is none

Deviations: operations act on the preprocessed input, so that contrast is about its zero (the mean, where the dataset
standardises) in place of the image's own mean, which would depend on the order of a sum; nothing is clipped; grey is
the plain mean; and of the paper's operations those that need the raw histogram or shear are left out.
"""

from functools import lru_cache
from math import cos, radians, sin
from typing import Final

import numpy as np
import torch
from torch import Tensor

from app.contracts.specs.views import ColorJitterView, RandAugmentView
from workers.engine.data.augment.draws import Draws, below

_CONTRAST, _BRIGHTNESS, _COLOUR, _ROTATION = range(1, 5)
KINDS: Final = 5
"""The four and identity, which is 0."""
MOST_CHANGE, MOST_DEGREES = 0.9, 30.0


def rand_augment(x: Tensor, draws: Draws, spec: RandAugmentView) -> Tensor:
    """Images x [n, C, H, W], each changed by as many operations as the spec says."""
    drawn = draws.uniforms(2 * spec.operations)
    for kind, side in zip(drawn[::2], drawn[1::2], strict=True):
        x = _changed(x, below(kind, KINDS), 2.0 * below(side, 2) - 1.0, spec.magnitude)
    return x


def color_jitter(x: Tensor, draws: Draws, spec: ColorJitterView) -> Tensor:
    """Images x [n, C, H, W] with contrast, brightness and saturation of their own, as the spec describes them."""
    changes = [2.0 * each - 1.0 for each in draws.uniforms(3)]
    x = x * _of_rows(1.0 + spec.contrast * changes[0], x) + _of_rows(spec.brightness * changes[1], x)
    return _recoloured(x, _of_rows(1.0 + spec.saturation * changes[2], x))


def _of_rows(values: Tensor, x: Tensor) -> Tensor:
    """A number for each row, float64 [n] on the host, as factor of images x [n, C, H, W]."""
    return values.to(x.dtype).to(x.device, non_blocking=True)[:, None, None, None]


def _changed(x: Tensor, kind: Tensor, sign: Tensor, magnitude: int) -> Tensor:
    """One operation of each row. `kind` int64 [n] and `sign` float64 [n], 1 or -1, on the host."""
    change = sign * (MOST_CHANGE * magnitude / 10)

    def of(which: int, values: Tensor, otherwise: float) -> Tensor:
        return _of_rows(torch.where(kind == which, values, otherwise), x)

    # Operations with a rounding each: a fused multiply-add would give other bits on some devices.
    x = x * of(_CONTRAST, 1.0 + change, 1.0) + of(_BRIGHTNESS, change, 0.0)
    x = _recoloured(x, of(_COLOUR, 1.0 + change, 1.0))
    return _turned(x, torch.where(kind == _ROTATION, sign, 0.0).to(torch.int64), MOST_DEGREES * magnitude / 10)


def _recoloured(x: Tensor, factor: Tensor) -> Tensor:
    """Where the factor is 1 the image as it is. The channels are added in their order, on every device."""
    channels = x.unbind(1)
    total = channels[0]
    for channel in channels[1:]:
        total = total + channel
    grey = (total * (1.0 / len(channels)))[:, None]
    return torch.where(factor == 1.0, x, (x - grey) * factor + grey)


def _turned(x: Tensor, side: Tensor, degrees: float) -> Tensor:
    """Each image as it is, or turned to one side or the other: `side` int64 [n] on the host, 0, 1 or -1."""
    n, channels, height, width = x.shape
    sources, inside = _places(height, width, degrees, x.device)
    which = (side + 1).to(x.device, non_blocking=True)
    indices = sources.index_select(0, which)[:, None].expand(n, channels, height * width)
    turned = x.reshape(n, channels, height * width).gather(2, indices)
    return turned.masked_fill_(~inside.index_select(0, which)[:, None], 0.0).reshape(x.shape)


@lru_cache(maxsize=8)
def _places(height: int, width: int, degrees: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """For −degrees, 0 and degrees: the pixel that each pixel is taken from, int64 [3, H · W], and whether it exists."""
    down, right = np.divmod(np.arange(height * width), width)
    y, x = down - (height - 1) / 2, right - (width - 1) / 2
    sources, inside = [], []
    for angle in (-degrees, 0.0, degrees):
        c, s = cos(radians(angle)), sin(radians(angle))
        row = np.rint(c * y - s * x + (height - 1) / 2).astype(np.int64)
        column = np.rint(s * y + c * x + (width - 1) / 2).astype(np.int64)
        inside.append((row >= 0) & (row < height) & (column >= 0) & (column < width))
        sources.append(row.clip(0, height - 1) * width + column.clip(0, width - 1))
    return torch.from_numpy(np.stack(sources)).to(device), torch.from_numpy(np.stack(inside)).to(device)
