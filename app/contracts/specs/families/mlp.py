"""The multi-layer perceptron."""

from itertools import pairwise
from math import prod
from typing import Annotated, Literal

from pydantic import Field

from app.contracts.specs.families.family import Activation, BuiltFamily, StartsFromTeacher, Width
from app.contracts.specs.families.structure import Norm, Normalization, Shape, Stage, Trunk, hidden_layer


class Mlp(BuiltFamily):
    """Multi-layer perceptron. The input is flattened.

    Names: `layers.0 … layers.n` where `layers.n` is the head (one output), or `layers.0 … layers.n-1` and
    `heads.<output>` (several). Normalisation layers are `norms.i`.
    """

    family: Literal["mlp"]
    hidden: Annotated[tuple[Width, ...], Field(max_length=32)] = Field(
        default=(), description="Widths of the hidden layers; an empty list gives a linear model."
    )
    activation: Activation = Field(default="relu", description="Activation function after each hidden layer.")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Dropout probability after each hidden activation.")
    normalization: Normalization = Field(default="none", description="Normalisation before each hidden activation.")

    def _trunk(self, input_shape: Shape) -> Trunk:
        widths = (prod(input_shape), *self.hidden)
        stages = tuple(self._stage(i, *pair) for i, pair in enumerate(pairwise(widths)))
        return Trunk(stages, features=widths[-1])

    def _stage(self, i: int, inputs: int, outputs: int) -> Stage:
        norm = Norm(f"norms.{i}", self.normalization, (outputs,))
        return Stage((hidden_layer(i, inputs, outputs), norm), (outputs,))


class StudentMlp(StartsFromTeacher, Mlp):
    """An mlp as a student."""
