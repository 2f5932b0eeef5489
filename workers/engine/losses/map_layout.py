"""Scores of pixels: [N, pixels, classes] in the engine, [N, classes, height, width] in graphs and files."""

from torch import Tensor

from app.contracts.resources.manifests import MapOutput


def as_map(values: Tensor, spec: MapOutput) -> Tensor:
    """[N, height · width, classes] -> [N, classes, height, width], a view."""
    return values.reshape(values.shape[0], *spec.shape, values.shape[2]).movedim(-1, 1)


def as_positions(values: Tensor) -> Tensor:
    """[N, classes, height, width] -> [N, height · width, classes], a view."""
    return values.flatten(2).movedim(1, -1)
