"""The transformer encoder (Vaswani et al. 2017, "Attention is all you need"), pre-norm (Xiong et al. 2020, "On layer
normalization in the transformer architecture").

    x ← x + out(attention(norm1(x)));   x ← x + down(activation(up(norm2(x))))
    attention = softmax(Q · Kᵀ / √d) · V for each head of width d, side by side

Attention is written out as two products of matrices, so that FLOPs are counted, ONNX gets plain operators, and no
fused kernel is chosen by device or shape, of which not all have a deterministic gradient. Queries, keys and values are
layers of their own, so that they can be tapped. Positions are learned, and dropout acts on the embedded tokens and on
what each half of a block adds; unlike in common code there is none on the attention weights.
"""

from math import sqrt

import torch
from torch import Tensor, nn

from app.contracts.specs.architectures import Transformer
from workers.engine.models.network import ACTIVATIONS, Network


class Positions(nn.Module):
    """Adds to each token what is learned for its place."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, T, D]."""
        return x + self.weight


class Block(nn.Module):
    """Self-attention, then a perceptron on each token; both on normalised tokens, both added to what came in."""

    def __init__(self, architecture: Transformer, activation: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        width, inner = architecture.width, architecture.inner
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.activation = activation
        self.dropout = dropout
        self._heads = architecture.heads

    def forward(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, T, D]."""
        h = x + self.dropout(self.out(self._attended(self.norm1(x))))
        total: Tensor = h + self.dropout(self.down(self.activation(self.up(self.norm2(h)))))
        return total

    def _attended(self, x: Tensor) -> Tensor:
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / sqrt(query.shape[-1])
        return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        """[N, T, D] -> [N, heads, T, D / heads]."""
        return x.reshape(*x.shape[:2], self._heads, -1).transpose(1, 2)


class TransformerNetwork(Network):
    """Embedding and positions, the blocks, a last LayerNorm, the mean over tokens, the heads."""

    def __init__(self, architecture: Transformer) -> None:
        super().__init__(architecture)
        tokens, features = self.input_shape
        activation = ACTIVATIONS[architecture.activation]()
        self.embed = nn.Linear(features, architecture.width)
        self.positions = Positions(tokens, architecture.width)
        self.dropout = nn.Dropout(architecture.dropout)
        self.blocks = nn.ModuleList(Block(architecture, activation, self.dropout) for _ in range(architecture.depth))
        self.norm = nn.LayerNorm(architecture.width)
        self.stretches = architecture.depth
        self._finish([], architecture.width)

    def begin(self, x: Tensor) -> Tensor:
        """Tokens [N, T, F] -> [N, T, width]."""
        h: Tensor = self.dropout(self.positions(self.embed(x)))
        return h

    def stretch(self, i: int, h: Tensor) -> Tensor:
        """A block: [N, T, width] -> [N, T, width]."""
        tokens: Tensor = self.blocks[i](h)
        return tokens

    def end(self, h: Tensor) -> Tensor:
        """Tokens [N, T, width] -> [N, width]."""
        pooled: Tensor = self.norm(h).mean(dim=1)
        return pooled
