"""The transformer encoder."""

from typing import Literal

from pydantic import Field

from app.contracts.problems import Problem
from app.contracts.specs.families.family import Activation, BuiltFamily, RowSides, StartsFromTeacher, Width
from app.contracts.specs.families.structure import (
    Group,
    Linear,
    MatrixProducts,
    Norm,
    Part,
    Positions,
    Shape,
    Stage,
    Trunk,
)

MAX_ATTENTION_SCORES = 1 << 28
"""Most attention scores of one row in one block: 1 GiB of float32."""


class Transformer(BuiltFamily):
    """Encoder of pre-norm blocks (Vaswani 2017, Xiong 2020) over rows of shape [tokens, features].

    Each token is embedded by a linear layer, and learned positions are added; after the last block comes a
    LayerNorm, and the mean over the tokens is what the heads see. Every token attends to every other: there is no mask.
    Names: `embed`, `positions`, `blocks.<i>.{norm1,query,key,value,out,norm2,up,down}`, `norm`, and the heads as in
    `mlp` (`layers.0` with one output).
    """

    family: Literal["transformer"]
    width: int = Field(ge=1, le=4096, description="Size of the vector that represents a token; a multiple of `heads`.")
    depth: int = Field(default=2, ge=1, le=64, description="Number of blocks.")
    heads: int = Field(
        default=4, ge=1, le=256, description="Number of attention heads in each block, each width / heads wide."
    )
    feedforward: Width | None = Field(
        default=None, description="Hidden width of each block's feedforward network; 4 x width when left out."
    )
    activation: Activation = Field(
        default="gelu", description="Activation function in each block's feedforward network."
    )
    dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Dropout probability of the embedded tokens and of the output of each attention and feedforward "
        "part.",
    )

    @property
    def input_sides(self) -> RowSides:
        return (("tokens", "features"),)

    @property
    def feedforward_width(self) -> int:
        """`feedforward`, or its default."""
        return self.feedforward or 4 * self.width

    def dependent_defaults(self) -> dict[str, object]:
        return {"feedforward": self.feedforward_width}

    def _trunk(self, input_shape: Shape) -> Trunk:
        tokens, features = input_shape
        shape = (tokens, self.width)
        begin = Linear("embed", features, self.width, (tokens,)), Positions("positions", shape)
        stages = tuple(Stage((self._block(i, tokens),), shape) for i in range(self.depth))
        return Trunk(stages, self.width, begin, (Norm("norm", "layer", shape),))

    def _block(self, i: int, tokens: int) -> Group:
        width, inner, shape = self.width, self.feedforward_width, (tokens, self.width)
        parts: tuple[Part, ...] = (
            Norm("norm1", "layer", shape),
            *(Linear(name, width, width, (tokens,)) for name in ("query", "key", "value")),
            MatrixProducts(4 * tokens * tokens * width),  # queries with keys, and their weights with values
            Linear("out", width, width, (tokens,)),
            Norm("norm2", "layer", shape),
            Linear("up", width, inner, (tokens,)),
            Linear("down", inner, width, (tokens,)),
        )
        return Group(f"blocks.{i}", parts, "block", shape)

    def misfits(self, input_shape: Shape) -> list[Problem]:
        problems, (tokens, _) = [], input_shape
        if self.width % self.heads:
            divisors = [n for n in range(1, min(self.width, 256) + 1) if self.width % n == 0]
            nearest = sorted(sorted(divisors, key=lambda n: abs(n - self.heads))[:4])
            detail = (
                f"{self.heads} heads do not divide a width of {self.width}: use {_or(nearest)} heads, or another width"
            )
            problems.append(Problem(pointer="/heads", code="heads_do_not_divide", detail=detail))
        scores = self.heads * tokens * tokens
        if scores > MAX_ATTENTION_SCORES:
            detail = (
                f"{self.heads} heads over {tokens} tokens make {scores} attention scores a row in each block, and at "
                f"most {MAX_ATTENTION_SCORES} are taken: use fewer heads, or rows of fewer tokens"
            )
            problems.append(Problem(pointer="/input_shape", code="too_many_tokens", detail=detail))
        return problems


def _or(numbers: list[int]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last


class StudentTransformer(StartsFromTeacher, Transformer):
    """A transformer as a student."""
