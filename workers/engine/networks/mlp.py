"""The multi-layer perceptron."""

from itertools import pairwise

from torch import Tensor, nn

from app.contracts.architectures import Mlp, Normalization
from workers.engine.networks.network import ACTIVATIONS, Network


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
        self._depth = len(architecture.hidden)
        self._finish([nn.Linear(*pair) for pair in pairwise(widths)], widths[-1])

    def features(self, x: Tensor) -> Tensor:
        """Rows [N, *input_shape] -> [N, last hidden width]."""
        h = x.flatten(1)
        for i in range(self._depth):
            h = self.dropout(self.activation(self.norms[i](self.layers[i](h))))
        return h
