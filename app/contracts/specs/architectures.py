"""The network families: those that Stillhouse builds itself, and those of libraries.

`input_shape` and `outputs` may be left out of a student: they then come from the dataset. A *resolved*
architecture has both.
"""

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter

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
from app.contracts.specs.families.transformer import StudentTransformer, Transformer

Architecture = Annotated[
    Mlp | Convnet | Resnet | Transformer | Timm | Torchvision | HuggingFace, Field(discriminator="family")
]
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

FAMILIES: dict[str, type[Family]] = {
    get_args(family.model_fields["family"].annotation)[0]: family for family in get_args(get_args(Architecture)[0])
}
"""Every family by its name."""
_WITHOUT_INIT: TypeAdapter[Architecture] = TypeAdapter(Architecture)


def of_weights(architecture: Architecture | None) -> Architecture | None:
    """The architecture of weights that exist already: what it leaves out is not for the recipe to choose."""
    if isinstance(architecture, Convnet) and architecture.pooling is None:
        return architecture.model_copy(update={"pooling": "average"})
    return architecture


def architecture_of(network: Student | Architecture) -> Architecture:
    """The architecture alone, without where it starts from and what it reads."""
    return _WITHOUT_INIT.validate_python(network.model_dump(exclude={"init", "inputs"}))


__all__ = [
    "FAMILIES",
    "Activation",
    "Architecture",
    "Convnet",
    "HuggingFace",
    "Init",
    "LibraryFamily",
    "MeasuredTrunk",
    "Mlp",
    "Resnet",
    "Student",
    "StudentConvnet",
    "StudentHuggingFace",
    "StudentMlp",
    "StudentResnet",
    "StudentTimm",
    "StudentTorchvision",
    "StudentTransformer",
    "Timm",
    "Torchvision",
    "Transformer",
    "architecture_of",
    "of_weights",
]
