"""Boxes of pixels, one for each row: what cutout blanks and cutmix pastes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """From `top` to `bottom` and `left` to `right`, ends excluded: int64 [n] each, on the host."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def around(cls, y: Tensor, x: Tensor, height: Tensor, width: Tensor, picture: tuple[int, int]) -> "Boxes":
        """Boxes [height, width] around the pixels (y, x), without what lies outside the picture: all int64 [n]."""
        return cls(*_span(y, height, picture[0]), *_span(x, width, picture[1]))

    def area(self) -> Tensor:
        """Pixels in each, int64 [n]."""
        return (self.bottom - self.top) * (self.right - self.left)

    def mask(self, picture: tuple[int, int], device: torch.device) -> Tensor:
        """Bool [n, 1, H, W] on the device: the pixels inside."""
        rows = _inside(self.top, self.bottom, picture[0]).to(device, non_blocking=True)
        columns = _inside(self.left, self.right, picture[1]).to(device, non_blocking=True)
        return rows[:, None, :, None] & columns[:, None, None, :]


def _span(centre: Tensor, side: Tensor, length: int) -> tuple[Tensor, Tensor]:
    first = centre - side // 2
    return first.clamp(0, length), (first + side).clamp(0, length)


def _inside(first: Tensor, end: Tensor, length: int) -> Tensor:
    places = torch.arange(length)
    return (places >= first[:, None]) & (places < end[:, None])
