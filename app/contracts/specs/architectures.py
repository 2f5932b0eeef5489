"""The network families that Stillhouse builds itself, as data.

`input_shape` and `outputs` may be left out of a student: they then come from the dataset. A *resolved*
architecture has both. Parameter names are the public ones of API.md: with one output the head is the last
layer of the trunk's sequence; with several, the trunk is shared and heads are `heads.<output>`. Other ways to share
than one trunk have names of their own, see `sharing`.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from app.contracts.base import Contract, Dimension, Name, ParameterPrefix, Shape
from app.contracts.specs.sharing import Sharing

Activation = Literal["relu", "gelu", "silu", "tanh"]
Normalization = Literal["none", "batch", "layer"]
Width = Annotated[int, Field(ge=1, le=16_384)]


class _Family(Contract):
    input_shape: Shape | None = Field(
        default=None, description="Shape of one input row; from the dataset when left out."
    )
    outputs: Annotated[dict[Name, Dimension], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Output name -> size (classes, labels or values); from the dataset when left out."
    )
    sharing: Sharing = Field(
        default="hard",
        description="How several tasks share the trunk: `hard` is one trunk and one head a task. A name, or an object "
        "with settings; `trunks` needs its `groups`, and `mtan` a convnet or a resnet.",
    )


class Mlp(_Family):
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


class Convnet(_Family):
    """Plain convolutional network: stages of `blocks` times (conv 3x3, norm, activation), max-pooled by 2.

    Then average pooling or flattening, then `hidden` fully connected layers, then the heads.
    Names: `stages.<s>.<b>.conv`, `stages.<s>.<b>.norm`, `layers.<i>`, and the heads as in `mlp`.
    """

    family: Literal["convnet"]
    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)] = Field(
        description="Number of channels of each stage; each stage halves height and width."
    )
    blocks: int = Field(default=1, ge=1, le=16, description="Number of convolutions in each stage.")
    hidden: Annotated[tuple[Width, ...], Field(max_length=8)] = Field(
        default=(), description="Widths of the fully connected layers before the heads."
    )
    pooling: Literal["average", "flatten"] = Field(
        default="average",
        description="How the feature maps of the last stage become one vector: their `average` over height and width, "
        "or all of them.",
    )
    activation: Activation = Field(
        default="relu", description="Activation function after each convolution and hidden layer."
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Dropout probability before each fully connected layer."
    )
    normalization: Literal["none", "batch"] = Field(
        default="batch", description="Normalisation after each convolution."
    )


class Resnet(_Family):
    """CIFAR-style residual network of basic blocks (He 2016): depth 6n+2, three stages of 16, 32, 64 x width.

    resnet20 is depth 20; resnet8x4 is depth 8, width 4, stem 32; resnet32x4 is depth 32, width 4, stem 32.
    Names: `stem.conv`, `stem.norm`, `stages.<s>.<b>.{conv1,norm1,conv2,norm2,shortcut.conv,shortcut.norm}`,
    and the heads as in `mlp` (`layers.0` with one output).
    """

    family: Literal["resnet"]
    depth: int = Field(
        default=20, ge=8, le=200, description="Number of layers: 6n+2 for n basic blocks in each of the three stages."
    )
    width: int = Field(default=1, ge=1, le=16, description="Factor on the 16, 32 and 64 channels of the three stages.")
    stem: Width = Field(default=16, description="Number of channels of the first convolution.")
    activation: Activation = Field(default="relu", description="Activation function of the stem and the blocks.")


class Transformer(_Family):
    """Encoder of pre-norm blocks (Vaswani 2017, Xiong 2020) over rows of shape [tokens, features].

    Each token is embedded by a linear layer and told its place by learned positions; after the last block comes a
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
    def inner(self) -> int:
        """Hidden width of each block's perceptron, also where it was left out."""
        return self.feedforward or 4 * self.width


Architecture = Annotated[Mlp | Convnet | Resnet | Transformer, Field(discriminator="family")]


def row_sides(architecture: Architecture) -> tuple[str, ...] | None:
    """What the dimensions of a row are called where a family needs them to be so many; None where any will do."""
    if isinstance(architecture, Mlp):
        return None
    return ("tokens", "features") if isinstance(architecture, Transformer) else ("channels", "height", "width")


class Init(Contract):
    """A student that starts from layers of a teacher instead of random weights. The control does not."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)

    teacher: int = Field(
        default=0,
        alias="from",
        ge=0,
        le=15,
        description="Index of the teacher, counted from 0; its model must be of a family that Stillhouse builds.",
    )
    layers: Annotated[dict[ParameterPrefix, ParameterPrefix], Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        description="The student's layers -> the teacher's, by prefixes of parameter names; when left out, every "
        "parameter that has the same name and shape in both.",
    )


class StudentMlp(Mlp):
    """An mlp as a student."""

    init: Init | None = Field(
        default=None, description="Layers of a teacher to start from; random weights when left out."
    )


class StudentConvnet(Convnet):
    """A convnet as a student."""

    init: Init | None = Field(
        default=None, description="Layers of a teacher to start from; random weights when left out."
    )


class StudentResnet(Resnet):
    """A resnet as a student."""

    init: Init | None = Field(
        default=None, description="Layers of a teacher to start from; random weights when left out."
    )


class StudentTransformer(Transformer):
    """A transformer as a student."""

    init: Init | None = Field(
        default=None, description="Layers of a teacher to start from; random weights when left out."
    )


Student = Annotated[StudentMlp | StudentConvnet | StudentResnet | StudentTransformer, Field(discriminator="family")]
_PLAIN: TypeAdapter[Architecture] = TypeAdapter(Architecture)


def plain(student: Student) -> Architecture:
    """The architecture alone, without where it starts from."""
    return _PLAIN.validate_python(student.model_dump(exclude={"init"}))
