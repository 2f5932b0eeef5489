"""Scores of pixels: [N, pixels, classes] in the engine, [N, classes, height, width] in graphs and files."""

from torch import Tensor


def as_map(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """[N, height · width, classes] -> [N, classes, height, width], a view."""
    return values.reshape(values.shape[0], *shape, values.shape[2]).movedim(-1, 1)


def as_positions(values: Tensor) -> Tensor:
    """[N, classes, height, width] -> [N, height · width, classes], a view."""
    return values.flatten(2).movedim(1, -1)
