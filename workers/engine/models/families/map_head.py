"""The head of an output that is a map, and how its scores stand: [N, pixels, classes] in the engine,
[N, classes, height, width] in graphs and files.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from torch import Tensor, nn
from torch.nn.functional import interpolate, linear


def map_scores(head: nn.Linear, maps: Sequence[Tensor], shape: tuple[int, int]) -> Tensor:
    """The scores of each pixel, from the maps [N, C_s, H_s, W_s] of several stages -> [N, height · width, classes].

    With the columns W_s of the head's weight for the channels of stage s, and bilinear interpolation U to `shape`:

        scores = Σ_s U(W_s maps_s) + bias

    which is the head on the stages' maps brought to `shape` and concatenated (Hariharan 2015, "Hypercolumns"), as
    interpolation and the head are linear: each stage is computed at its own size. Corners are not aligned. A stage
    with larger maps than `shape` is interpolated without antialiasing.
    """
    ends = list(accumulate(each.shape[1] for each in maps))
    parts = [head.weight[:, first:end] for first, end in pairwise([0, *ends])]
    scores = [_resized(linear(each.movedim(1, -1), part), shape) for each, part in zip(maps, parts, strict=True)]
    total = scores[0]
    for each in scores[1:]:
        total = total + each
    return (total if head.bias is None else total + head.bias).flatten(1, 2)


def _resized(scores: Tensor, shape: tuple[int, int]) -> Tensor:
    """[N, H, W, classes] -> [N, height, width, classes]; the memory stays in that order."""
    if scores.shape[1:3] == shape:
        return scores
    return interpolate(scores.movedim(-1, 1), size=shape, mode="bilinear", align_corners=False).movedim(1, -1)


def as_map(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """[N, height · width, classes] -> [N, classes, height, width], a view."""
    return values.reshape(values.shape[0], *shape, values.shape[2]).movedim(-1, 1)


def as_positions(values: Tensor) -> Tensor:
    """[N, classes, height, width] -> [N, height · width, classes], a view."""
    return values.flatten(2).movedim(1, -1)
