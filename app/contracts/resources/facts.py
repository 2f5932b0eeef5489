"""What an inspection found out about an upload; what job specs are checked against."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from app.contracts.base import Answer
from app.contracts.resources.manifests import InputTransform, OutputSpec, SplitName
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.architectures import Architecture

FileRole = Literal["weights", "data", "onnx", "original"]


class FileRef(Answer):
    """One file of a model or dataset."""

    name: str = Field(description="File name, for display only.")
    role: FileRole = Field(
        description="`weights`: safetensors; `onnx`: an ONNX graph; `data`: rows of a dataset; `original`: an "
        "uploaded state_dict that is not converted yet."
    )
    bytes: int = Field(description="Size in bytes.")
    sha256: str = Field(description="SHA-256 of the file, in lower-case hexadecimal.")


class Layer(Answer):
    """A layer that a feature term may tap."""

    name: str = Field(description="Name, as `teacher_layer` or `student_layer` of a feature term takes it.")
    kind: str = Field(
        description="`linear`, `conv`, `norm`, `positions`, `block`, `stage`, `features` (what the heads see), or an "
        "ONNX operator."
    )
    shape: tuple[int, ...] | None = Field(description="Output shape of one row; null where the graph does not say.")
    parameters: int = Field(
        default=0, description="Number of the layer's own parameters, without those of layers listed by themselves."
    )


class OutputFacts(Answer):
    """One output of a model: its meaning and how many numbers a row has."""

    spec: OutputSpec
    size: int


class ModelFacts(Answer):
    """A model that is ready."""

    architecture: Architecture | None = Field(description="null for onnx.")
    input_shape: tuple[int, ...] | None = Field(description="Shape of one row; null where the graph leaves it open.")
    inputs: dict[str, InputTransform]
    outputs: dict[str, OutputFacts]
    parameters: int | None = Field(description="null where unknown.")
    layers: tuple[Layer, ...] = ()
    max_batch: int | None = Field(default=None, description="An ONNX graph with a fixed batch size says it here.")


class InputFacts(Answer):
    """One input of a dataset as rows of numbers. `mean` and `std` are those of the training split after `scale`."""

    shape: tuple[int, ...]
    scale: float = 1.0
    standardize: bool = False
    mean: tuple[float, ...] | None = Field(
        default=None, description="Per element of the first dimension, if standardised."
    )
    std: tuple[float, ...] | None = None
    encoding: InputEncoding | None = Field(
        default=None, description="Of categories, and of numbers whose missing values are filled; else null."
    )


class TargetFacts(Answer):
    """One target: kind, size (classes, labels, numbers) and how many rows of each split have a label."""

    kind: Literal["class", "multilabel", "value", "vector", "teacher"]
    size: int
    classes: tuple[str, ...] | None = None
    predicts: Annotated[OutputSpec | None, Field(description="Of `teacher` columns.")] = None
    labelled: dict[SplitName, int] = Field(default_factory=dict)
    mean: float | None = Field(default=None, description="Of a value target on the training split.")
    std: float | None = None


class DatasetFacts(Answer):
    """A dataset that is ready."""

    rows: int
    splits: dict[SplitName, int]
    inputs: dict[str, InputFacts]
    targets: dict[str, TargetFacts]


MODEL_FACTS: TypeAdapter[ModelFacts] = TypeAdapter(ModelFacts)
DATASET_FACTS: TypeAdapter[DatasetFacts] = TypeAdapter(DatasetFacts)
