"""Features of two networks brought to shapes that can be compared."""

import torch
from torch import Tensor

from workers.engine.losses.softmax import widened


def flat(features: Tensor) -> Tensor:
    """[N, ...] -> [N, F]."""
    return features.flatten(1)


def matched(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [N, C, H, W], [N, D, h, w] at the smaller of both heights and of both widths, by adaptive average
    pooling; equal sizes stay as they are. Features that are no maps have no such sizes and pass as they are.
    """
    if student.dim() != 4 or teacher.dim() != 4:
        return student, teacher
    height, width = (min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True))
    return pooled(student, height, width), pooled(teacher, height, width)


def pooled(maps: Tensor, height: int, width: int) -> Tensor:
    """Adaptive average pooling as two products of matrices: torch's own has no deterministic gradient on CUDA."""
    if maps.shape[2:] == (height, width):
        return maps
    maps = widened(maps)
    return _averaging(height, maps.shape[2], maps) @ maps @ _averaging(width, maps.shape[3], maps).T


def resized(maps: Tensor, height: int, width: int) -> Tensor:
    """Nearest places, as torch's `interpolate` has them: place i of l is taken from ⌊i·L/l⌋ of L. As products of
    matrices, like `pooled`.
    """
    if maps.shape[2:] == (height, width):
        return maps
    maps = widened(maps)
    return _nearest(height, maps.shape[2], maps) @ maps @ _nearest(width, maps.shape[3], maps).T


def paired(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float32 or wider; raises ValueError unless they have one shape, which would broadcast silently."""
    if student.shape != teacher.shape:
        raise ValueError(f"expected features of one shape, found {tuple(student.shape)} and {tuple(teacher.shape)}")
    return widened(student), widened(teacher)


def of_tokens(features: Tensor, tokens: Tensor | None) -> Tensor:
    """Features [N, T, D] with zeros at places that are no tokens (bool [N, T]; None: all places are)."""
    return features if tokens is None else features.masked_fill(~tokens[:, :, None], 0.0)


def nothing(features: Tensor) -> Tensor:
    """The scalar 0 with a gradient of zeros, for batches too small for a loss; never NaN, whatever the features."""
    return widened(features).flatten()[:0].sum()


def _averaging(smaller: int, larger: int, like: Tensor) -> Tensor:
    """[smaller, larger]: row i averages the places ⌊i·L/l⌋ … ⌈(i+1)·L/l⌉ − 1."""
    cell = torch.arange(smaller, device=like.device)[:, None]
    place = torch.arange(larger, device=like.device)
    inside = (place >= cell * larger // smaller) & (place * smaller < (cell + 1) * larger)
    return inside.to(like.dtype) / inside.sum(1, keepdim=True)


def _nearest(places: int, length: int, like: Tensor) -> Tensor:
    """[places, length]: row i has a 1 at ⌊i·L/l⌋."""
    taken = torch.arange(places, device=like.device)[:, None] * length // places
    return (taken == torch.arange(length, device=like.device)).to(like.dtype)
