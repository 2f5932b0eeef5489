"""Boxes of pixels, one for each row: erased by cutout, pasted by cutmix."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """From `top` to `bottom` and from `left` to `right`, ends excluded: int64 [n] each, on the host."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def around(cls, y: Tensor, x: Tensor, height: Tensor, width: Tensor, image: tuple[int, int]) -> "Boxes":
        """Boxes of `height` and `width` around the pixels (y, x), clipped to the image; int64 [n] each."""
        return cls(*_span(y, height, image[0]), *_span(x, width, image[1]))

    def area(self) -> Tensor:
        """Number of pixels in each box, int64 [n]."""
        return (self.bottom - self.top) * (self.right - self.left)

    def mask(self, image: tuple[int, int], device: torch.device) -> Tensor:
        """Bool [n, 1, H, W] on the device, True inside the box."""
        rows = _inside(self.top, self.bottom, image[0]).to(device, non_blocking=True)
        columns = _inside(self.left, self.right, image[1]).to(device, non_blocking=True)
        return rows[:, None, :, None] & columns[:, None, None, :]


def _span(centre: Tensor, side: Tensor, length: int) -> tuple[Tensor, Tensor]:
    first = centre - side // 2
    return first.clamp(0, length), (first + side).clamp(0, length)


def _inside(first: Tensor, end: Tensor, length: int) -> Tensor:
    positions = torch.arange(length)
    return (positions >= first[:, None]) & (positions < end[:, None])
