"""The multi-layer perceptron."""

from torch import Tensor, nn

from app.contracts.specs.families.mlp import Mlp
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.models.modules import ACTIVATIONS


class MlpNetwork(FamilyNetwork):
    """Linear, normalisation, activation, dropout for each hidden width; then the heads."""

    norms: nn.ModuleList

    def __init__(self, architecture: Mlp) -> None:
        super().__init__(architecture)
        self.activation = ACTIVATIONS[architecture.activation]()
        self.dropout = nn.Dropout(architecture.dropout)
        self.add_layers({})

    def begin(self, x: Tensor) -> Tensor:
        """Rows [N, *input_shape] -> [N, their numbers]."""
        return x.flatten(1)

    def stage(self, i: int, h: Tensor) -> Tensor:
        """A hidden layer: [N, width before] -> [N, width]."""
        hidden: Tensor = self.dropout(self.activation(self.norms[i](self.layers[i](h))))
        return hidden
