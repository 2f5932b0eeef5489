"""What a network consists of, as data: layers with names and sizes, groups of layers, stages, trunks.

A family describes its trunk once in these terms. Counts and shapes (`app.contracts.layouts`) and torch modules
(`workers.engine.models.modules`) both follow from that description. Layers are listed in the order in which data pass
them, and names are those of the state dict: `stages.0` is entry 0 of the list `stages`.
"""

from dataclasses import dataclass
from typing import Literal

Shape = tuple[int, ...]
Normalization = Literal["none", "batch", "layer"]
GroupKind = Literal["block", "stage", "mask"]


@dataclass(frozen=True)
class Linear:
    """A linear layer on the last dimension, applied at each of the `positions`, which are the dimensions before it."""

    name: str
    inputs: int
    outputs: int
    positions: Shape = ()


@dataclass(frozen=True)
class Conv:
    """A convolution with a padding of half its kernel on every side; `size` is the height and width, or the length, of
    its output.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int
    size: Shape
    stride: int = 1
    bias: bool = False


@dataclass(frozen=True)
class Norm:
    """A normalisation of rows of `shape`; of kind `none` it is the identity, and not listed as a layer."""

    name: str
    kind: Normalization
    shape: Shape


@dataclass(frozen=True)
class Positions:
    """A learned tensor of `shape` [tokens, width] that is added to the tokens."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class MatrixProducts:
    """Products of computed matrices, such as attention: FLOPs without parameters, and no module."""

    flops: int


@dataclass(frozen=True)
class Group:
    """Layers under a common name. With a `kind` the group's output of `shape` can be tapped as a layer.

    The family's network says what module a kind is; without one the layers are run one after the other.
    """

    name: str
    parts: tuple["Part", ...]
    kind: GroupKind | None = None
    shape: Shape = ()


@dataclass(frozen=True)
class NamedOutput:
    """The output of a layer of a measured part, which can be tapped; `shape` is that of one row."""

    name: str
    kind: str
    shape: Shape
    parameters: int = 0


@dataclass(frozen=True)
class MeasuredPart:
    """A part that a library builds: what was measured of it, instead of its layers."""

    name: str
    parameters: int
    flops: int
    depth: int
    """Number of its convolutions and linear layers."""
    normalized: bool
    layers: tuple[NamedOutput, ...]


Part = Linear | Conv | Norm | Positions | MatrixProducts | Group | MeasuredPart


@dataclass(frozen=True)
class Stage:
    """A stage of a trunk, and the shape of one row of its output. Sharing schemes come between stages."""

    parts: tuple[Part, ...]
    shape: Shape


@dataclass(frozen=True)
class FeatureMaps:
    """The first stages of a convolutional trunk, each one group of blocks: the shape of a row inside each of them.

    `stride` is that of each stage's first convolution but the first stage's; with a stride of 1 stages are pooled.
    """

    shapes: tuple[Shape, ...]
    stride: int
    normalization: Normalization


@dataclass(frozen=True)
class Trunk:
    """A network without its heads: what comes before the stages, the stages, what comes after; `features` outputs."""

    stages: tuple[Stage, ...]
    features: int
    begin: tuple[Part, ...] = ()
    end: tuple[Part, ...] = ()
    maps: FeatureMaps | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts in the order in which data pass them."""
        return (*self.begin, *(part for stage in self.stages for part in stage.parts), *self.end)

    @property
    def head_name(self) -> str:
        """Name of the head of a network with a single output: it comes last in the list `layers`."""
        hidden = [part for part in self.parts if isinstance(part, Linear) and part.name.startswith("layers.")]
        return f"layers.{len(hidden)}"


def hidden_layer(i: int, inputs: int, outputs: int) -> Linear:
    """The i-th fully connected layer of a trunk."""
    return Linear(f"layers.{i}", inputs, outputs)
