"""A network whose layers a term names, and what the layers of networks of texts and of maps are."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.contracts.base import Shape
from app.contracts.resolving.multitask.sharing import own_layer
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.specs.architectures import Architecture


@dataclass(frozen=True)
class LayerOwner:
    """A network whose layers are named: in words, as `student` or `teacher`, and its layers in their order.

    `architecture` is None for graphs. `output` is that of a teacher, which may have features of its own. `tokens`: how
    it reads a text; None for networks of numbers.
    """

    name: str
    side: str
    architecture: Architecture | None
    layers: Mapping[str, Shape | None]
    output: str | None = None
    tokens: TokenEncoding | None = None

    def own(self, layer: str) -> str:
        """The layer of this name, of the output."""
        if self.architecture is None or self.output is None:
            return layer
        return own_layer(self.architecture, self.output, layer)

    def is_series(self, shape: Shape) -> bool:
        """Whether a layer of this shape is [channels, length], which has as many dimensions as tokens."""
        network = self.architecture
        return network is not None and network.has_feature_maps and len(network.input_shape or ()) == len(shape) == 2

    def is_by_token(self, shape: Shape) -> bool:
        """Whether a layer of this shape has a vector for each token of a text, of which rows have any number."""
        return self.architecture is not None and is_by_token(self.architecture, shape)

    @property
    def longest_row(self) -> int:
        """Most tokens of a row, of a network of texts."""
        assert self.architecture is not None
        assert self.architecture.input_shape is not None
        return self.architecture.input_shape[0]


def is_by_token(architecture: Architecture, shape: Shape) -> bool:
    """Whether a layer [tokens, width] of a network has a vector for each token of a text."""
    return architecture.reads == "tokens" and len(shape) == 2


def pooled_shape(shape: Shape) -> Shape:
    """The shape of one row of a layer once it is pooled: [tokens, width] -> [width], maps [C, H, W] -> [C]."""
    if len(shape) == 2:
        return shape[1:]
    return shape[:1] if len(shape) == 3 else shape
