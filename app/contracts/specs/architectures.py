"""The network families: those that Stillhouse builds itself, and those of libraries.

`input_shape` and `outputs` may be left out of a student: they then come from the dataset. A *resolved*
architecture has both.
"""

from typing import Annotated, Any, get_args

from pydantic import Discriminator, Field, Tag, TypeAdapter

from app.contracts.specs.families.convnet import Convnet, StudentConvnet
from app.contracts.specs.families.family import Activation, Family, Init
from app.contracts.specs.families.library import (
    HuggingFace,
    LibraryFamily,
    MeasuredTrunk,
    StudentHuggingFace,
    StudentTimm,
    StudentTorchvision,
    Timm,
    Torchvision,
)
from app.contracts.specs.families.mlp import Mlp, StudentMlp
from app.contracts.specs.families.resnet import Resnet, StudentResnet
from app.contracts.specs.families.starts import NetworkOfModel, NetworkOfTeacher, has_field
from app.contracts.specs.families.transformer import StudentTransformer, Transformer

Architecture = Annotated[
    Mlp | Convnet | Resnet | Transformer | Timm | Torchvision | HuggingFace, Field(discriminator="family")
]
"""A network of a family."""
Student = Annotated[
    StudentMlp
    | StudentConvnet
    | StudentResnet
    | StudentTransformer
    | StudentTimm
    | StudentTorchvision
    | StudentHuggingFace,
    Field(discriminator="family"),
]
"""A network of a family as a student."""


def _form_of_student(value: Any) -> str:
    """The tag of a student in `StudentSpec`."""
    return "of-teacher" if has_field(value, "from_teacher") else _form_of_network(value)


def _form_of_network(value: Any) -> str:
    """The tag of a network in `TrainedSpec`."""
    return "of-model" if has_field(value, "model") else "network"


StudentSpec = Annotated[
    Annotated[Student, Tag("network")]
    | Annotated[NetworkOfModel, Tag("of-model")]
    | Annotated[NetworkOfTeacher, Tag("of-teacher")],
    Discriminator(_form_of_student),
]
"""A student as a spec has it: of a family, or given by a model or a teacher until these are known."""
TrainedSpec = Annotated[
    Annotated[Architecture, Tag("network")] | Annotated[NetworkOfModel, Tag("of-model")],
    Discriminator(_form_of_network),
]
"""The network of a training without teachers as a spec has it, likewise."""
AnyNetwork = Architecture | NetworkOfModel | NetworkOfTeacher
"""A network wherever it may not be resolved yet."""

FAMILIES: dict[str, type[Family]] = {
    get_args(family.model_fields["family"].annotation)[0]: family for family in get_args(get_args(Architecture)[0])
}
"""Every family by its name."""
_WITHOUT_INIT: TypeAdapter[Architecture] = TypeAdapter(Architecture)
_STUDENT: TypeAdapter[Student] = TypeAdapter(Student)


def of_weights(architecture: Architecture | None) -> Architecture | None:
    """The architecture of weights that exist already: what it leaves out is not for the recipe to choose."""
    if isinstance(architecture, Convnet) and architecture.pooling is None:
        return architecture.model_copy(update={"pooling": "average"})
    return architecture


def architecture_of(network: Student | AnyNetwork) -> Architecture:
    """The architecture alone, without the teacher's layers that it starts from and what it reads."""
    return _WITHOUT_INIT.validate_python(network.model_dump(exclude={"init", "inputs"}))


def student_of(network: Architecture) -> Student:
    """The network as a student."""
    return _STUDENT.validate_python(network.model_dump())


__all__ = [
    "FAMILIES",
    "Activation",
    "AnyNetwork",
    "Architecture",
    "Convnet",
    "HuggingFace",
    "Init",
    "LibraryFamily",
    "MeasuredTrunk",
    "Mlp",
    "NetworkOfModel",
    "NetworkOfTeacher",
    "Resnet",
    "Student",
    "StudentConvnet",
    "StudentHuggingFace",
    "StudentMlp",
    "StudentResnet",
    "StudentSpec",
    "StudentTimm",
    "StudentTorchvision",
    "StudentTransformer",
    "Timm",
    "Torchvision",
    "TrainedSpec",
    "Transformer",
    "architecture_of",
    "of_weights",
    "student_of",
]
