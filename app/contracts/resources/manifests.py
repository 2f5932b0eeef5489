"""What a client says about the bytes it uploads: manifests of models and datasets."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from app.contracts.base import (
    ClassName,
    Column,
    Contract,
    Dimension,
    Finite,
    Metadata,
    Name,
    ParameterPrefix,
    PositiveScale,
    Shape,
    Title,
)
from app.contracts.specs.architectures import Architecture

ModelFormat = Literal["safetensors", "state_dict", "onnx"]
DatasetFormat = Literal["npz", "parquet", "csv", "jsonl"]
SplitName = Literal["train", "validation", "test"]
Statistic = Finite | Annotated[tuple[Finite, ...], Field(min_length=1, max_length=65_536)]
Columns = Annotated[tuple[Column, ...], Field(min_length=1, max_length=65_536)]
Deviation = PositiveScale | Annotated[tuple[PositiveScale, ...], Field(min_length=1, max_length=65_536)]


class InputTransform(Contract):
    """What a model does to raw inputs first: `(x * scale - mean) / std`.

    `mean` and `std` are numbers, or one number for each element of the first dimension (channels, or the
    features of a flat row).
    """

    scale: PositiveScale = Field(default=1.0, description="Every raw number is multiplied by this first.")
    mean: Statistic = Field(default=0.0, description="Subtracted after scaling.")
    std: Deviation = Field(default=1.0, description="Divided by at last.")


class ClassOutput(Contract):
    """Scores over exclusive classes."""

    kind: Literal["class"]
    output: Literal["logits", "probabilities", "log_probabilities", "energies"] = Field(
        default="logits", description="What the numbers are: with energies p = softmax(-E / temperature)."
    )
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=65_536)] | None = Field(
        default=None, description="Class names in the order of the output; checked against the dataset's."
    )


class MultilabelOutput(Contract):
    """One yes-or-no score for each label."""

    kind: Literal["multilabel"]
    output: Literal["logits", "probabilities"] = Field(default="logits", description="What the numbers are.")


class ValueOutput(Contract):
    """One number; `mean` and `std` undo the standardisation: value = output * std + mean."""

    kind: Literal["value"]
    mean: Finite = Field(default=0.0, description="Mean of the values that the model was trained on.")
    std: PositiveScale = Field(default=1.0, description="Their deviation.")


class VectorOutput(Contract):
    """A vector of numbers, such as an embedding; number i = output i * std i + mean i, where they are given."""

    kind: Literal["vector"]
    mean: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=65_536)] | None = Field(
        default=None, description="Means of the vectors that the model was trained on, a number each."
    )
    std: Annotated[tuple[PositiveScale, ...], Field(min_length=1, max_length=65_536)] | None = Field(
        default=None, description="Their deviations."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError("give `mean` and `std` of a vector together, with a number each for every number of it")
        return self


OutputSpec = Annotated[ClassOutput | MultilabelOutput | ValueOutput | VectorOutput, Field(discriminator="kind")]


class ModelManifest(Contract):
    """The manifest of an uploaded model."""

    name: Title = Field(description="A human's name for it; need not be unique.")
    format: ModelFormat = Field(description="Formats that can carry code are refused by name.")
    architecture: Architecture | None = Field(
        default=None, description="Needed for safetensors and state_dict; absent for onnx, whose graph says it."
    )
    rename: Annotated[dict[ParameterPrefix, ParameterPrefix], Field(max_length=4096)] = Field(
        default_factory=dict, description="The file's parameter prefixes -> Stillhouse's."
    )
    inputs: Annotated[dict[Name, InputTransform], Field(max_length=1)] = Field(
        default_factory=dict, description="What the model expects of raw inputs; identity when left out."
    )
    outputs: Annotated[dict[Name, OutputSpec], Field(min_length=1, max_length=64)] = Field(
        description="What each output means. A model with one unnamed output calls it `output`."
    )
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _architecture_fits_format(self) -> Self:
        if self.format == "onnx":
            if self.architecture is not None or self.rename:
                raise ValueError("an onnx model carries its own graph: leave out `architecture` and `rename`")
            return self
        arch = self.architecture
        if arch is None:
            raise ValueError(f"a {self.format} model needs `architecture`: weights alone do not say the network")
        if arch.input_shape is None or arch.outputs is None:
            raise ValueError("the architecture of an uploaded model needs `input_shape` and `outputs`")
        if set(arch.outputs) != set(self.outputs):
            raise ValueError(
                f"`architecture.outputs` names {sorted(arch.outputs)} but `outputs` names {sorted(self.outputs)}"
            )
        return self


class ArrayInput(Contract):
    """Numbers of a fixed shape in each row."""

    kind: Literal["array"]
    columns: Columns | None = Field(
        default=None, description="Columns of a table, in order; for npz one key (the input's name when left out)."
    )
    shape: Shape | None = Field(default=None, description="Reshapes a flat row; the array's own shape when left out.")
    scale: PositiveScale = Field(default=1.0, description="Every number is multiplied by this first.")
    standardize: bool = Field(
        default=False,
        description="Subtract the training split's mean and divide by its deviation; kept with the student.",
    )


_COLUMNS = "Columns of a table, in order, or one npz key; the target's name when left out."
_SIZE = "Numbers in each row; checked against the file where it is given."


class ClassTarget(Contract):
    """One class of several. A missing label is -1 or null."""

    kind: Literal["class"]
    column: Column | None = Field(default=None, description="The target's name when left out.")
    classes: (
        Annotated[int, Field(ge=2, le=65_536)]
        | Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=65_536)]
    ) = Field(description="Number of classes (labels are integers from 0), or their names in order.")


class MultilabelTarget(Contract):
    """Several yes-or-no labels (0, 1; NaN or null is missing)."""

    kind: Literal["multilabel"]
    columns: Columns | None = Field(default=None, description=_COLUMNS)
    size: Dimension | None = Field(default=None, description=_SIZE)


class ValueTarget(Contract):
    """A number (NaN or null is missing)."""

    kind: Literal["value"]
    column: Column | None = Field(default=None, description="The target's name when left out.")


class VectorTarget(Contract):
    """A vector of numbers (a row with NaN or null is missing)."""

    kind: Literal["vector"]
    columns: Columns | None = Field(default=None, description=_COLUMNS)
    size: Dimension | None = Field(default=None, description=_SIZE)


class TeacherTarget(Contract):
    """Outputs of a teacher computed elsewhere, used as `teachers: [{"columns": "<name>"}]`."""

    kind: Literal["teacher"]
    columns: Columns | None = Field(default=None, description=_COLUMNS)
    size: Dimension | None = Field(default=None, description=_SIZE)
    predicts: OutputSpec = Field(description="What the numbers mean, as in a model's manifest.")


TargetSpec = Annotated[
    ClassTarget | MultilabelTarget | ValueTarget | VectorTarget | TeacherTarget, Field(discriminator="kind")
]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class FractionSplits(Contract):
    """Rows are dealt to the splits at random, from a seed."""

    fractions: dict[SplitName, Fraction] = Field(min_length=1, description="Share of the rows in each; sums to 1.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Another seed deals the rows otherwise.")
    stratify: Name | None = Field(default=None, description="A class target whose shares are kept in every split.")

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = sum(self.fractions.values())
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"fractions must sum to 1, found {total:.6g}")
        if self.fractions.get("train", 0.0) == 0.0:
            raise ValueError("the train fraction must be above 0")
        return self


class ColumnSplits(Contract):
    """A column says train, validation or test for each row."""

    column: Column = Field(description="Holds `train`, `validation` or `test` for each row.")


def _kind_of_splits(value: Any) -> str:
    named = value if isinstance(value, dict) else vars(value)
    return "column" if "column" in named else "fractions"


Splits = Annotated[
    Annotated[FractionSplits, Tag("fractions")] | Annotated[ColumnSplits, Tag("column")],
    Discriminator(_kind_of_splits),
]


class DatasetManifest(Contract):
    """The manifest of an uploaded dataset."""

    name: Title = Field(description="A human's name for it; need not be unique.")
    format: DatasetFormat = Field(description="How the file is read.")
    inputs: Annotated[dict[Name, ArrayInput], Field(min_length=1, max_length=1)] = Field(
        description="What a model sees of a row, by name."
    )
    targets: Annotated[dict[Name, TargetSpec], Field(max_length=64)] = Field(
        default_factory=dict, description="No target at all is allowed: such data still teach by soft targets."
    )
    splits: Splits = Field(
        default_factory=lambda: FractionSplits(fractions={"train": 0.7, "validation": 0.15, "test": 0.15}),
        description="Which rows train, which select, which are measured at the end.",
    )
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _stratify_names_a_class_target(self) -> Self:
        if isinstance(self.splits, FractionSplits) and self.splits.stratify is not None:
            target = self.targets.get(self.splits.stratify)
            if target is None or target.kind != "class":
                raise ValueError(f"`splits.stratify` must name a class target, found {self.splits.stratify!r}")
        return self
