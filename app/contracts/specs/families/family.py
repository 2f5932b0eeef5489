"""What every family of networks has: shapes, outputs, sharing, and the description of its trunk."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from app.contracts.base import Contract, Dimension, JobId, MapShape, ModelId, Name, ParameterPrefix, Shape, left_out
from app.contracts.problems import Problem
from app.contracts.specs.families import structure
from app.contracts.specs.sharing import Sharing

Activation = Literal["relu", "gelu", "silu", "tanh"]
Extra = Literal["vision", "text"]
"""An optional part of the package, with libraries that some networks need."""
RowKind = Literal["numbers", "tokens"]
"""What a row is: numbers of any meaning, or the ids of the tokens of a text."""
RowSides = tuple[tuple[str, ...], ...]
Width = Annotated[int, Field(ge=1, le=16_384)]
_SIDES_OF_IMAGES = 3
BlockIndex = Annotated[int, Field(ge=0, le=4095)]


class Family(Contract):
    """Base of the families. A family describes its trunk in `_trunk`; names in it are those of the state dict.

    With a single output the head is the last of `layers`; with several, heads are `heads.<output>`.
    """

    has_feature_maps: ClassVar[bool] = False
    """Whether its trunk begins with stages of feature maps, which sharing by `mtan` needs."""

    input_shape: Shape | None = Field(
        default=None, description="Shape of one input row; from the dataset when left out."
    )
    outputs: Annotated[dict[Name, Dimension], Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Output name -> size (classes, labels or values); from the dataset when left out."
    )
    inputs: Annotated[tuple[Name, ...], Field(min_length=1, max_length=8)] | None = Field(
        default=None,
        exclude_if=left_out,
        description="Inputs of the dataset that the network reads, by name; all of them when left out. Several flat "
        "inputs are concatenated in the order of the dataset's manifest.",
    )
    sharing: Sharing = Field(
        default="hard",
        description="How several tasks share the trunk: `hard` is one trunk and one head a task. A name, or an object "
        "with settings; `trunks` needs its `groups`, and `mtan` a convnet or a resnet.",
    )

    @property
    def maps_images(self) -> bool:
        """Whether its rows are images and its trunk begins with their feature maps, which have an order in memory."""
        return self.has_feature_maps and len(self.input_shape or ()) == _SIDES_OF_IMAGES

    @property
    def input_sides(self) -> RowSides:
        """Names of the dimensions of one row, for each kind of rows; empty where rows of any shape are flattened."""
        return ()

    @property
    def map_shapes(self) -> Mapping[str, MapShape]:
        """[height, width] of the outputs that are maps, by name."""
        return {}

    @property
    def reads(self) -> RowKind:
        """What the rows of the network are."""
        return "numbers"

    @property
    def extra(self) -> Extra | None:
        """The extra of the package with which a worker can build it, if it needs one."""
        return None

    def sides_misfit(self, shape: structure.Shape) -> str | None:
        """What rows the network takes, where they have another number of dimensions than `shape`; else None."""
        if not self.input_sides or any(len(sides) == len(shape) for sides in self.input_sides):
            return None
        return " or ".join(f"[{', '.join(sides)}]" for sides in self.input_sides)

    @property
    def tokenizer_model(self) -> str | None:
        """Id of the model whose tokenizer it reads texts with; None where it reads by the dataset's, or numbers."""
        return None

    def named_models(self) -> dict[str, str]:
        """Ids of the models, and of jobs whose students are meant, that its fields name, by field."""
        return {}

    @property
    def is_described(self) -> bool:
        """Whether everything is known that its counts depend on."""
        return self.input_shape is not None and self.outputs is not None

    def with_outputs(self, outputs: Mapping[str, int]) -> Self:
        """The same network with other heads: these outputs, of which those that it has keep what is said of them."""
        return self.model_copy(update={"outputs": dict(outputs)})

    def trunk(self) -> structure.Trunk:
        """The trunk of a resolved architecture. Raises ValueError where `input_shape` or `outputs` is missing."""
        if self.input_shape is None or self.outputs is None:
            raise ValueError("a network needs a resolved architecture: `input_shape` and `outputs` are missing")
        return self._trunk(self.input_shape)

    @abstractmethod
    def _trunk(self, input_shape: structure.Shape) -> structure.Trunk: ...

    def misfits(self, input_shape: structure.Shape) -> list[Problem]:
        """What is wrong with the architecture for rows of this shape; pointers start at the architecture."""
        return []

    def dependent_defaults(self) -> dict[str, object]:
        """Values of fields that were left out and depend on others."""
        return {}


class Cut(Contract):
    """Which part of the `pretrained` model a network is."""

    layers: tuple[BlockIndex, ...] = Field(
        min_length=1,
        max_length=256,
        description="Its block i starts as block `layers[i]` of the model, counted from 0. Everything outside of the "
        "blocks is kept.",
    )
    sliced: bool = Field(
        default=False,
        description="Whether it is narrower: each of its tensors is then the leading rows and columns of the model's.",
    )


class BuiltFamily(Family):
    """Base of the families whose networks can be built: they have weights to start from."""

    pretrained: ModelId | JobId | None = Field(
        default=None,
        exclude_if=left_out,
        description="Id of a model of the same network, or of a job whose student is one, from which student and "
        "control start: its trunk, and its heads where they have the same names, sizes and classes. Random weights "
        "when left out.",
    )
    cut: Cut | None = Field(
        default=None,
        exclude_if=left_out,
        description="With `pretrained`: which of that model's blocks the network has. All of them when left out.",
    )
    transform: Literal["pretrained"] | None = Field(
        default=None,
        exclude_if=left_out,
        description="`pretrained`: rows are scaled and standardised as those of the model that the network starts "
        "from. When left out, as the dataset's `standardize` says.",
    )

    @model_validator(mode="after")
    def _starts_from_a_model(self) -> Self:
        alone = [name for name in ("cut", "transform") if getattr(self, name) is not None and self.pretrained is None]
        if alone:
            raise ValueError(f"`{alone[0]}` is about the model in `pretrained`, found none: name it, or leave it out")
        return self

    def named_models(self) -> dict[str, str]:
        return {"pretrained": self.pretrained} if self.pretrained is not None else {}


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


class StartsFromTeacher(Contract):
    """Mixed into a family it gives the students of that family."""

    init: Init | None = Field(
        default=None, description="Layers of a teacher to start from; random weights when left out."
    )
