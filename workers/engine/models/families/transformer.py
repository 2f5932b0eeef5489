"""The transformer encoder (Vaswani et al. 2017, "Attention is all you need"), pre-norm (Xiong et al. 2020, "On layer
normalization in the transformer architecture").

    x ← x + out(attention(norm1(x)));   x ← x + down(activation(up(norm2(x))))
    attention = softmax(Q · Kᵀ / √d) · V for each head of width d, side by side

Attention is written out as two products of matrices, so that FLOPs are counted, ONNX gets plain operators, and no
fused kernel is chosen by device or shape, of which not all have a deterministic gradient. Queries, keys and values are
layers of their own, so that they can be tapped. Positions are learned, and dropout acts on the embedded tokens and on
the output of each half of a block; unlike in common code there is none on the attention weights.
"""

from math import sqrt

from torch import Tensor, nn

from app.contracts.specs.families.transformer import Transformer
from workers.engine.models.families.family import FamilyNetwork
from workers.engine.models.modules import ACTIVATIONS


class EncoderBlock(nn.Module):
    """Self-attention, then a perceptron on each token; both on normalised tokens, both added to their input."""

    norm1: nn.Module
    query: nn.Module
    key: nn.Module
    value: nn.Module
    out: nn.Module
    norm2: nn.Module
    up: nn.Module
    down: nn.Module

    def __init__(self, heads: int, activation: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.dropout = dropout
        self._heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, T, D]."""
        h = x + self.dropout(self.out(self._attention(self.norm1(x))))
        total: Tensor = h + self.dropout(self.down(self.activation(self.up(self.norm2(h)))))
        return total

    def _attention(self, x: Tensor) -> Tensor:
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / sqrt(query.shape[-1])
        return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, heads, T, D / heads]."""
        return x.reshape(*x.shape[:2], self._heads, -1).transpose(1, 2)


class TransformerNetwork(FamilyNetwork):
    """Embedding and positions, the blocks, a last LayerNorm, the mean over tokens, the heads."""

    embed: nn.Module
    positions: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module

    def __init__(self, architecture: Transformer) -> None:
        super().__init__(architecture)
        activation = ACTIVATIONS[architecture.activation]()
        self.dropout = nn.Dropout(architecture.dropout)
        # A dropout of its own for each block: frozen blocks are in evaluation mode, and the others are not.
        self.add_layers(
            {"block": lambda: EncoderBlock(architecture.heads, activation, nn.Dropout(architecture.dropout))}
        )

    def begin(self, x: Tensor) -> Tensor:
        """Tokens [N, T, F] -> [N, T, width]."""
        h: Tensor = self.dropout(self.positions(self.embed(x)))
        return h

    def stage(self, i: int, h: Tensor) -> Tensor:
        """A block: [N, T, width] -> [N, T, width]."""
        tokens: Tensor = self.blocks[i](h)
        return tokens

    def end(self, h: Tensor) -> Tensor:
        """Tokens [N, T, width] -> [N, width]."""
        pooled: Tensor = self.norm(h).mean(dim=1)
        return pooled
