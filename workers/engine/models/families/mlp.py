"""The multi-layer perceptron."""

from itertools import pairwise

from torch import Tensor, nn

from app.contracts.specs.architectures import Mlp, Normalization
from workers.engine.models.network import ACTIVATIONS, Network


def _norm(kind: Normalization, width: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm1d(width)
    return nn.LayerNorm(width) if kind == "layer" else nn.Identity()


class MlpNetwork(Network):
    """Linear, normalisation, activation, dropout for each hidden width; then the heads."""

    def __init__(self, architecture: Mlp) -> None:
        super().__init__(architecture)
        widths = (self.row_size, *architecture.hidden)
        self.norms = nn.ModuleList(_norm(architecture.normalization, width) for width in architecture.hidden)
        self.activation = ACTIVATIONS[architecture.activation]()
        self.dropout = nn.Dropout(architecture.dropout)
        self.stretches = len(architecture.hidden)
        self._finish([nn.Linear(*pair) for pair in pairwise(widths)], widths[-1])

    def begin(self, x: Tensor) -> Tensor:
        """Rows [N, *input_shape] -> [N, their numbers]."""
        return x.flatten(1)

    def stretch(self, i: int, h: Tensor) -> Tensor:
        """A hidden layer: [N, width before] -> [N, width]."""
        hidden: Tensor = self.dropout(self.activation(self.norms[i](self.layers[i](h))))
        return hidden
