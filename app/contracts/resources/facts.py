"""What an inspection found out about an upload; what job specs are checked against."""

import operator
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from app.contracts.base import Answer, left_out
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import InputTransform, OutputSpec
from app.contracts.resources.raw_rows import RawFile, RawInput
from app.contracts.resources.splits import SplitName
from app.contracts.resources.statistics import ColumnCounts, DataWarning, TargetStatistics, WeightStatistics
from app.contracts.resources.tables import InputEncoding
from app.contracts.specs.architectures import Architecture

FileRole = Literal[
    "weights",
    "data",
    "onnx",
    "int8",
    "fp16",
    "original",
    "reference_rows",
    "invented_rows",
    "tokenizer",
    "preview",
]


OpenShape = tuple[int | None, ...]
"""Shape of one row; None for a dimension that a graph leaves open."""
_WIDE = frozenset({"float64", "int32", "int64", "uint32", "uint64"})
Examples = dict[str, tuple[tuple[float, ...], ...]]


class FileRef(Answer):
    """One file of a model or dataset."""

    name: str = Field(description="File name, for display only.")
    role: FileRole = Field(
        description="`weights`: safetensors; `onnx`: an ONNX graph; `data`: rows of a dataset; `original`: an "
        "uploaded state_dict that is not converted yet; `reference_rows`: rows of the dataset that a student was "
        "trained on, with its answers; `invented_rows`: such rows for a model whose dataset is not at hand; "
        "`tokenizer`: a `tokenizer.json` of the library tokenizers; `preview`: rows of a dataset to be shown."
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
    input_shape: tuple[int, ...] | None = Field(
        description="Shape of one row; null where the graph leaves it open, and where it has several inputs."
    )
    inputs: dict[str, InputTransform]
    input_shapes: dict[str, OpenShape] = Field(
        default_factory=dict,
        description="Shape of one row of each input, by name of the dataset's input that it is; null for a dimension "
        "that a graph leaves open.",
    )
    input_types: dict[str, str] = Field(
        default_factory=dict, description="Number type of each input of an ONNX graph, such as `float32` or `int64`."
    )
    graph_inputs: dict[str, str] = Field(
        default_factory=dict, description="Name of each input in an ONNX graph, by the name used here."
    )
    graph_outputs: dict[str, str] = Field(
        default_factory=dict, description="Name of each output in an ONNX graph, by the name used here."
    )
    constants: dict[str, float] = Field(
        default_factory=dict, description="Inputs of an ONNX graph, by its names, that are filled with one number."
    )
    raw_inputs: dict[str, RawInput] = Field(
        default_factory=dict,
        description="How each input stands in the file that a student was trained on; empty for uploads.",
    )
    raw_file: RawFile | None = Field(
        default=None,
        description="The file that a student was trained on (the first of several); null for uploads.",
    )
    export_refused: str | None = Field(
        default=None,
        description="Why a student has no ONNX file: what its job's export ended with; null where nothing went wrong.",
    )
    outputs: dict[str, OutputFacts]
    parameters: int | None = Field(description="null where unknown.")
    layers: tuple[Layer, ...] = ()
    max_batch: int | None = Field(default=None, description="An ONNX graph with a fixed batch size says it here.")
    warnings: tuple[dict[str, str], ...] = Field(
        default=(), description="What the inspection chose or did with the file: `{code, message}` each."
    )
    examples: Examples = Field(
        default_factory=dict,
        description="Outputs for three rows of raw numbers: zeros, ones, and a ramp from 0 to below 1 (whole numbers "
        "from 0 on for integer inputs). At most 64 numbers a row; empty where the outputs are not finite.",
    )

    @property
    def reads_whole_numbers(self) -> bool:
        """Whether an input is of an integer type, so that rows between whole numbers are refused."""
        return any(not name.startswith("float") for name in self.input_types.values())

    @property
    def reads_wide_numbers(self) -> bool:
        """Whether an input is of a type with numbers that float32 lacks: rows are then read and computed in float64."""
        return bool(_WIDE & set(self.input_types.values()))

    @property
    def reads_several_tensors(self) -> bool:
        """Whether this is a graph with several inputs; everything else reads one tensor."""
        return len(self.graph_inputs) > 1


class InputFacts(Answer):
    """One input of a dataset as rows of numbers. `mean` and `std` are those of the training split after `scale`."""

    shape: tuple[int, ...] = Field(description="Shape of one row, after `layout`.")
    layout: Literal["channels_last", "channels_first"] | None = Field(
        default=None, description="Layout of the rows in the file, where the manifest says it."
    )
    scale: float = 1.0
    standardize: bool = Field(default=False, description="Whether rows are standardised.")
    because: str | None = Field(
        default=None, description="Why they are standardised in this way, where the manifest does not say it."
    )
    mean: tuple[float, ...] | None = Field(
        default=None, description="Per element of the first dimension, or one for all numbers, if standardised."
    )
    std: tuple[float, ...] | None = None
    encoding: InputEncoding | None = Field(
        default=None, description="Of categories, and of numbers whose missing values are filled; else null."
    )
    columns: tuple[str, ...] | None = Field(
        default=None,
        description="The columns in the order of the numbers of a row (C order, after `layout`), where each is one "
        "number or one category; else null.",
    )
    column_counts: dict[str, dict[SplitName, ColumnCounts]] | None = Field(
        default=None,
        description="Rows with missing values and unseen categories, by column and split. Columns of numbers without a "
        "missing value are left out; null where an older version inspected it.",
    )

    raw: RawInput | None = Field(
        default=None, description="How the rows stand in the file; null where an older version inspected it."
    )
    tokens: TokenEncoding | None = Field(
        default=None, description="Of texts: how they become the tokens of a row for a student without a tokenizer."
    )

    @property
    def may_have_missing(self) -> bool:
        """Whether a number of it was missing in the file, or that was not counted."""
        return self.encoding is not None and self.encoding.missing is not None and self.column_counts != {}


class TargetFacts(Answer):
    """One target: kind, size (classes, labels, numbers) and how many rows of each split have a label."""

    kind: Literal["class", "token_class", "map", "multilabel", "value", "vector", "teacher"]
    size: int
    shape: tuple[int, int] | None = Field(
        default=None, exclude_if=left_out, description="[height, width] of a map; left out otherwise."
    )
    classes: tuple[str, ...] | None = None
    input: str | None = Field(default=None, description="Of labels of tokens: the input whose tokens they are.")
    predicts: Annotated[OutputSpec | None, Field(description="Of `teacher` columns.")] = None
    labelled: dict[SplitName, int] = Field(default_factory=dict)
    mean: float | None = Field(default=None, description="Of a value target on the training split.")
    std: float | None = None
    statistics: dict[SplitName, TargetStatistics] = Field(
        default_factory=dict, description="Label counts and range by split; empty where an older version inspected it."
    )


class DatasetFacts(Answer):
    """A dataset that is ready."""

    rows: int
    splits: dict[SplitName, int]
    inputs: dict[str, InputFacts]
    targets: dict[str, TargetFacts]
    weights: dict[str, dict[SplitName, WeightStatistics]] = Field(
        default_factory=dict, description="Row weights by name, with statistics by split (those with rows)."
    )
    warnings: tuple[DataWarning, ...] = ()
    sha256: str | None = Field(
        default=None,
        description="SHA-256 of the file, of several files a digest of theirs; null in facts of an older version.",
    )
    files: dict[str, int] = Field(
        default_factory=dict,
        exclude_if=operator.not_,
        description="Rows of each file by its name, in their order, where the dataset has several.",
    )
    of: str | None = Field(
        default=None, description="Of predictions: the dataset whose rows they are for; `splits` count those with any."
    )


MODEL_FACTS: TypeAdapter[ModelFacts] = TypeAdapter(ModelFacts)
DATASET_FACTS: TypeAdapter[DatasetFacts] = TypeAdapter(DatasetFacts)
