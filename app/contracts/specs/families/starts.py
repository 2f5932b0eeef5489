"""Networks that a spec describes by a model: they become a network of a family once that model is known."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from app.contracts.base import Contract, ModelId, left_out
from app.contracts.specs.families import structure
from app.contracts.specs.families.family import BlockIndex, Family, Width


class StandIn(Family):
    """Base of networks whose family is that of a model."""

    family: ClassVar[str] = "model"
    init: ClassVar[None] = None
    pretrained: ClassVar[None] = None
    cut: ClassVar[None] = None
    transform: ClassVar[None] = None

    @property
    def is_described(self) -> bool:
        return False

    def _trunk(self, input_shape: structure.Shape) -> structure.Trunk:
        raise ValueError("a network that is given by a model is described once that model is known")

    @model_validator(mode="after")
    def _sharing_is_that_of_the_model(self) -> Self:
        if self.sharing != "hard":
            raise ValueError("the sharing scheme is that of the model: leave `sharing` out")
        return self


class NetworkOfModel(StandIn):
    """The architecture of a model, of any family, and its weights to start from.

    The trunk starts from the model's weights, and so do heads whose names, sizes and classes are the model's; other
    heads are new. The control starts from the same weights. A model that is a graph (ONNX) has no such weights.
    """

    model: ModelId = Field(description="Id of the model.")

    def named_models(self) -> dict[str, str]:
        return {"model": self.model}


class CutWidth(Contract):
    """A narrower network: the leading rows and columns of each of the teacher's tensors."""

    hidden: Width | None = Field(
        default=None,
        exclude_if=left_out,
        description="Size of the vector of a token; the teacher's when left out. A multiple of the size of the "
        "teacher's attention heads, which stay as wide as they are.",
    )
    intermediate: Width | None = Field(
        default=None,
        exclude_if=left_out,
        description="Hidden width of the feedforward network of each block; the teacher's when left out.",
    )
    heads: Width | None = Field(
        default=None,
        exclude_if=left_out,
        description="Number of attention heads; as many of the teacher's as fit `hidden` when left out.",
    )

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("expected `hidden`, `intermediate` or `heads`, found none: name one, or leave `width` out")
        return self


class FromTeacher(Contract):
    """Which part of which teacher a student is."""

    teacher: int = Field(
        default=0,
        ge=0,
        le=15,
        description="Index of the teacher, counted from 0; of several tasks the teachers are counted through.",
    )
    layers: Annotated[tuple[BlockIndex, ...], Field(min_length=1, max_length=256)] | None = Field(
        default=None,
        exclude_if=left_out,
        description="The teacher's blocks that the student has, counted from 0, in ascending order. When left out, "
        "half of them, evenly spaced from the first to the last: 0, 2, 4, 7, 9 and 11 of 12.",
    )
    width: CutWidth | None = Field(
        default=None, exclude_if=left_out, description="A narrower student; as wide as the teacher when left out."
    )


class NetworkOfTeacher(StandIn):
    """Some blocks of a teacher, with its embeddings, its last normalisation and, where names, sizes and classes agree,
    its head. For teachers of the family `transformer`, and of `huggingface` with blocks of equal form. The control
    starts from the same weights.
    """

    from_teacher: FromTeacher = Field(description="Which part of which teacher.")


def has_field(value: Any, field: str) -> bool:
    """Whether a document or an instance has a field of a stand-in, and no family."""
    if isinstance(value, dict):
        return field in value and "family" not in value
    return isinstance(value, StandIn) and hasattr(value, field)
