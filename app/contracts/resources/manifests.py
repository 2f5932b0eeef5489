"""Manifests of models and datasets: descriptions that clients send with uploads."""

import operator
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from app.contracts.base import (
    ClassName,
    Column,
    Contract,
    Dimension,
    Finite,
    Licence,
    MapShape,
    Metadata,
    Name,
    NameInFile,
    PositiveDeviation,
    PositiveScale,
    Printable,
    RenamedPrefix,
    Shape,
    Title,
    left_out,
)
from app.contracts.resources.inputs.arrays import ArrayInput, Columns
from app.contracts.resources.inputs.audio import AudioInput
from app.contracts.resources.inputs.forms import FileForm
from app.contracts.resources.inputs.images import ImageInput
from app.contracts.resources.inputs.maps import MapTarget, check_map
from app.contracts.resources.inputs.tagging import TokenClassTarget, labelled_input
from app.contracts.resources.inputs.texts import TextInput, TokenEncoding, TokensInput
from app.contracts.resources.reference import Reference
from app.contracts.resources.splits import FractionSplits, Splits
from app.contracts.resources.tables import CategoryInput, CsvOptions, InputEncoding
from app.contracts.specs.architectures import Architecture, of_weights
from app.contracts.specs.families.embeddings import Embedding
from app.contracts.specs.families.family import Extra

MAX_INPUTS: Final = 8
"""Maximum number of inputs of a dataset or a model."""
ModelFormat = Literal["safetensors", "state_dict", "onnx", "huggingface"]
FORMAT_EXTRAS: Final[Mapping[ModelFormat, Extra]] = {"huggingface": "text"}
DatasetFormat = Literal["npz", "parquet", "csv", "jsonl", "images", "sounds"]
DATASET_SIGNATURES: Final[Mapping[DatasetFormat, bytes]] = {
    "npz": b"PK\x03\x04",
    "images": b"PK\x03\x04",
    "sounds": b"PK\x03\x04",
    "parquet": b"PAR1",
}
"""The first bytes of a file in a binary format; the other formats are text."""
TEXT_FORMATS: Final[Sequence[str]] = ("csv", "jsonl")
"""Formats of text, which may be compressed by gzip or zstd."""
MAX_STATISTICS: Final = 65_536
"""Maximum number of means or deviations of an input or output."""
Statistic = Finite | Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MAX_STATISTICS)]
Deviation = PositiveDeviation | Annotated[tuple[PositiveDeviation, ...], Field(min_length=1, max_length=MAX_STATISTICS)]


class InputTransform(Contract):
    """What a model does to raw inputs first: `(x * scale - mean) / std`.

    `mean` and `std` are numbers, or one number for each element of the first dimension (channels, or the
    features of a flat row), or one for each number of a row in C order. Rows are brought into the model's input shape
    before.
    """

    scale: PositiveScale = Field(default=1.0, description="Factor on every raw number.")
    mean: Statistic = Field(default=0.0, description="Subtracted after scaling.")
    std: Deviation = Field(default=1.0, description="Divisor after the mean is subtracted.")
    layout: Literal["channels_last"] | None = Field(
        default=None,
        exclude_if=left_out,
        description="`channels_last` for a model whose input has the channels last, as those exported from Keras: the "
        "rows of a dataset, which have them first, are transformed and then moved. `mean` and `std` are those of the "
        "channels.",
    )
    resize: Literal["bilinear", "bicubic"] | None = Field(
        default=None,
        exclude_if=left_out,
        description="For a model of images: rows of another height and width are resized to the model's by this filter "
        "(with antialiasing, as Pillow does) before all else. Left out, such rows are refused.",
    )
    encoding: InputEncoding | None = Field(
        default=None,
        exclude_if=left_out,
        description="How the columns of a table become the raw numbers, where they are categories or have missing "
        "values; left out otherwise.",
    )
    columns: Columns | None = Field(
        default=None,
        exclude_if=left_out,
        description="The columns that the model was trained on, in the order of the raw numbers (C order). A dataset "
        "whose input has them in another order is refused. Left out where they are not known.",
    )
    tokens: TokenEncoding | None = Field(
        default=None,
        exclude_if=left_out,
        description="For a model of texts: its tokenizer, and how rows of tokens are made by it; nothing else is done "
        "to them. The service fills it in from the files of the model.",
    )
    form: FileForm | None = Field(
        default=None,
        exclude_if=left_out,
        description="For a model of images or sounds: how it makes its rows of the files of a dataset by itself, "
        "whatever the dataset makes of them; as `size` and the other fields of an input of images, or as `seconds` and "
        "those of one of sounds. `scale`, `mean` and `std` are of these rows. A dataset of arrays, and augmented rows, "
        "are read by `resize`, or refused where that is left out.",
    )

    @model_validator(mode="after")
    def _form_is_of_files(self) -> Self:
        others = [name for name in ("tokens", "columns", "encoding") if getattr(self, name) is not None]
        if self.form is not None and others:
            raise ValueError(f"`form` is of files of images or sounds, which have no `{others[0]}`: leave one out")
        return self


class ModelInputSpec(InputTransform):
    """One input of a model: its transform, and what the file leaves open."""

    shape: Shape | None = Field(
        default=None,
        exclude_if=left_out,
        description="Shape of one row. For an ONNX graph that leaves dimensions open, and for each of several inputs "
        "of a network; else the file or the architecture says it.",
    )
    constant: Finite | None = Field(
        default=None,
        exclude_if=left_out,
        description="Fills this input of an ONNX graph with one number, such as a sampling rate or a state of zeros, "
        "in place of an input of the dataset. Open dimensions have the size of the batch.",
    )

    @model_validator(mode="after")
    def _form_is_of_rows(self) -> Self:
        if self.form is not None and self.constant is not None:
            raise ValueError("`form` makes rows of files, and `constant` fills an input without any: leave one out")
        return self

    @property
    def transform(self) -> InputTransform:
        """The transform alone."""
        return InputTransform(**{name: getattr(self, name) for name in InputTransform.model_fields})


class ClassOutput(Contract):
    """Scores over exclusive classes."""

    kind: Literal["class"]
    output: Literal["logits", "probabilities", "log_probabilities", "energies"] = Field(
        default="logits",
        description="Meaning of the numbers; for `energies`, p = softmax(-E / temperature). One number a row, of an "
        "ONNX graph or a column, is that of the second of two classes: its log-odds (`logits`) or its probability.",
    )
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=65_536)] | None = Field(
        default=None, description="Class names in the order of the output; compared with those of the dataset."
    )


class TokenClassOutput(Contract):
    """Logits over exclusive classes for each token of a row."""

    kind: Literal["token_class"]
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=65_536)] | None = Field(
        default=None, description="Class names in the order of the output; compared with those of the dataset."
    )

    @property
    def of_a_position(self) -> ClassOutput:
        """What the numbers of one token are."""
        return ClassOutput(kind="class", classes=self.classes)


class MapOutput(Contract):
    """Logits over exclusive classes for each pixel of a map. A graph gives them as [rows, classes, height, width]."""

    kind: Literal["map"]
    shape: MapShape = Field(description="[height, width] of the map.")
    classes: Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=65_536)] | None = Field(
        default=None, description="Class names in the order of the output; compared with those of the dataset."
    )

    @property
    def of_a_position(self) -> ClassOutput:
        """What the numbers of one pixel are."""
        return ClassOutput(kind="class", classes=self.classes)


PositionOutput = TokenClassOutput | MapOutput
"""Outputs with logits for each position of a row: in the engine [rows, positions, classes], the pixels of a map in C
order.
"""
ExclusiveOutput = ClassOutput | PositionOutput
"""Outputs with scores over exclusive classes, in the last dimension: of a row, of each token, of each pixel."""


class MultilabelOutput(Contract):
    """One yes-or-no score for each label."""

    kind: Literal["multilabel"]
    output: Literal["logits", "probabilities"] = Field(default="logits", description="Meaning of the numbers.")


class ValueOutput(Contract):
    """One number; `mean` and `std` undo the standardisation: value = output * std + mean."""

    kind: Literal["value"]
    mean: Finite = Field(default=0.0, description="Mean of the values that the model was trained on.")
    std: PositiveDeviation = Field(
        default=1.0, description="Standard deviation of the values that the model was trained on."
    )


class VectorOutput(Contract):
    """A vector of numbers, such as an embedding; number i = output i * std i + mean i, where they are given."""

    kind: Literal["vector"]
    mean: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=65_536)] | None = Field(
        default=None, description="Mean of each component over the vectors that the model was trained on."
    )
    std: Annotated[tuple[PositiveDeviation, ...], Field(min_length=1, max_length=65_536)] | None = Field(
        default=None, description="Standard deviation of each component."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError("give `mean` and `std` of a vector together, with a number each for every number of it")
        return self


OutputSpec = Annotated[
    ClassOutput | TokenClassOutput | MapOutput | MultilabelOutput | ValueOutput | VectorOutput,
    Field(discriminator="kind"),
]


class ModelManifest(Contract):
    """The manifest of an uploaded model."""

    name: Title = Field(description="Name for people, not necessarily unique.")
    format: ModelFormat = Field(description="Format of the file; formats that can contain code are refused.")
    architecture: Annotated[Architecture | None, AfterValidator(of_weights)] = Field(
        default=None,
        description="The network; required for safetensors and state_dict, not allowed for onnx and huggingface, whose "
        "files contain a graph or a configuration.",
    )
    key: Annotated[str, StringConstraints(min_length=1, max_length=256), Printable()] | None = Field(
        default=None,
        description="Where the state_dict is in a checkpoint of several, as `state_dict_ema` or `nets.student`; found "
        "by itself where there is one. For state_dict files.",
    )
    rename: Annotated[dict[NameInFile, RenamedPrefix], Field(max_length=4096)] = Field(
        default_factory=dict,
        description="Parameter prefixes in the file -> prefixes of the architecture; for onnx, names of the graph's "
        "inputs and outputs -> names of the dataset's inputs and of `outputs`. An empty one drops the prefix, "
        "and the rest of the name is renamed again. `module.`, `_orig_mod.` and `model.` before all names are dropped "
        "where the names do not fit otherwise.",
    )
    ignore: Annotated[tuple[NameInFile, ...], Field(min_length=1, max_length=4096)] | None = Field(
        default=None,
        exclude_if=left_out,
        description="Names or prefixes of the file's tensors that are left out, such as `criterion` for the weights of "
        "a loss in a Lightning checkpoint; each must match one. For safetensors and state_dict files.",
    )
    missing_biases: Literal["zero"] | None = Field(
        default=None,
        description="`zero`: layers whose weight is in the file and whose bias is not have a bias of zeros, as those "
        "made with `bias=False`. Left out, such a file is refused.",
    )
    embedding: Embedding | None = Field(
        default=None,
        exclude_if=left_out,
        description="How a folder of an encoder, with an output of kind `vector`, makes one vector a row; left out "
        "where `modules.json` of sentence-transformers says it. For huggingface files.",
    )
    inputs: Annotated[dict[Name, ModelInputSpec], Field(max_length=MAX_INPUTS)] = Field(
        default_factory=dict,
        description="What the model reads, by name of the dataset's input, and the transform of raw rows before the "
        "first layer (identity when left out). Several inputs of a network are concatenated in this order; each needs "
        "its `shape`. When left out, a network reads all inputs of a dataset, and a graph those of its inputs' names.",
    )
    outputs: Annotated[dict[Name, OutputSpec], Field(min_length=1, max_length=64)] = Field(
        description="Meaning of each output, by name; a model with one unnamed output calls it `output`."
    )
    reference: Reference | None = Field(
        default=None,
        exclude_if=left_out,
        description="Raw rows and the outputs that the model has for them, computed where it was trained. The "
        "inspection must reproduce them, or rejects the model with `reference_mismatch`.",
    )
    licence: Licence | None = Field(
        default=None,
        exclude_if=left_out,
        description="Licence of the model, such as `Apache-2.0`, for its model card; not stated when left out.",
    )
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _reference_names_outputs(self) -> Self:
        unknown = sorted(set(self.reference.outputs) - set(self.outputs)) if self.reference else []
        if unknown:
            raise ValueError(f"`reference.outputs` names {unknown} but `outputs` names {sorted(self.outputs)}")
        return self

    @model_validator(mode="after")
    def _architecture_fits_format(self) -> Self:
        if self.key is not None and self.format != "state_dict":
            raise ValueError(f"`key` chooses within a state_dict file, this one is {self.format}: leave it out")
        if self.embedding is not None and self.format != "huggingface":
            raise ValueError(f"`embedding` is for huggingface folders, this is {self.format}: leave it out")
        if self.format in ("onnx", "huggingface"):
            given = ("architecture", "missing_biases", "ignore")
            surplus = [f"`{name}`" for name in given if getattr(self, name) is not None]
            if surplus:
                raise ValueError(f"the file of {self.format} says its network: leave out {' and '.join(surplus)}")
            if self.format == "huggingface" and max(len(self.outputs), len(self.inputs)) > 1:
                raise ValueError("a huggingface model has one output, and at most one of `inputs`")
            return self
        check_network_inputs(self.inputs, self.architecture)
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


def check_network_inputs(inputs: Mapping[str, ModelInputSpec], arch: Architecture | None) -> None:
    """Check that the inputs of a network say what is needed to concatenate them. Raises ValueError."""
    if any(spec.constant is not None for spec in inputs.values()):
        raise ValueError("`constant` is for inputs of an onnx graph: leave it out")
    if arch is not None and arch.inputs is not None:
        raise ValueError("what an uploaded model reads is named in `inputs`: leave `architecture.inputs` out")
    if len(inputs) < 2:
        return
    if any(spec.layout is not None for spec in inputs.values()):
        raise ValueError("a network concatenates several inputs as they are: leave `layout` out")
    without = sorted(name for name, spec in inputs.items() if spec.shape is None)
    if without:
        raise ValueError(f"a network that reads several inputs needs the `shape` of each: missing for {without}")
    sizes = {name: prod(spec.shape or ()) for name, spec in inputs.items()}
    if arch is not None and arch.input_shape is not None and sum(sizes.values()) != prod(arch.input_shape):
        raise ValueError(
            f"`inputs` have {sizes} numbers a row, {sum(sizes.values())} together, and `architecture.input_shape` "
            f"{list(arch.input_shape)}"
        )


InputSpec = Annotated[
    ArrayInput | CategoryInput | ImageInput | TextInput | TokensInput | AudioInput, Field(discriminator="kind")
]
_COLUMNS = "Columns of a table, in order, or one npz key; the target's name when left out."
_SIZE = "Number of values in each row; compared with the file where it is given."


class ClassTarget(Contract):
    """One class of several. A missing label is -1 or null."""

    kind: Literal["class"]
    column: Column | None = Field(
        default=None, description="Column or npz key of the labels; the target's name when left out."
    )
    classes: (
        Annotated[int, Field(ge=2, le=65_536)]
        | Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=65_536)]
    ) = Field(description="Number of classes (labels are integers from 0), or the class names in order.")


class MultilabelTarget(Contract):
    """Several yes-or-no labels (0, 1; NaN or null is missing)."""

    kind: Literal["multilabel"]
    columns: Columns | None = Field(default=None, description=_COLUMNS)
    size: Dimension | None = Field(default=None, description=_SIZE)


class ValueTarget(Contract):
    """A number (NaN or null is missing)."""

    kind: Literal["value"]
    column: Column | None = Field(
        default=None, description="Column or npz key of the values; the target's name when left out."
    )


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
    predicts: OutputSpec = Field(description="Meaning of the numbers, as for an output in a model's manifest.")


TargetSpec = Annotated[
    ClassTarget | TokenClassTarget | MapTarget | MultilabelTarget | ValueTarget | VectorTarget | TeacherTarget,
    Field(discriminator="kind"),
]


class RowWeights(Contract):
    """A number of 0 or more for each row, such as a survey's weight, or how far its label is trusted."""

    column: Column | None = Field(
        default=None, description="Column or npz key of the weights; their name when left out."
    )


class DatasetManifest(Contract):
    """The manifest of an uploaded dataset."""

    name: Title = Field(description="Name for people, not necessarily unique.")
    format: DatasetFormat = Field(
        description="Format of the file; a csv or jsonl file may be compressed by gzip or zstd. `images`: a zip or tar "
        "of image files, with `image`, `file_name`, and by their folders `label` and `split` as columns; `sounds`: the "
        "same of sound files, with `audio`."
    )
    csv: CsvOptions | None = Field(
        default=None,
        exclude_if=left_out,
        description="How a csv is written; only with format csv, and images and sounds with a metadata.csv.",
    )
    inputs: Annotated[dict[Name, InputSpec], Field(min_length=1, max_length=MAX_INPUTS)] = Field(
        description="Inputs of the models, by name. A student reads all of them, concatenated in this order where "
        "there are several, or those that its `inputs` names."
    )
    targets: Annotated[dict[Name, TargetSpec], Field(max_length=64)] = Field(
        default_factory=dict,
        description="What can be learned, by name. May be empty: rows without targets can still be used with a "
        "teacher.",
    )
    weights: Annotated[dict[Name, RowWeights], Field(max_length=64)] = Field(
        default_factory=dict,
        exclude_if=operator.not_,
        description="Weights of rows by name, for `row_weights` of jobs: numbers of 0 or more, none missing. They are "
        "neither inputs nor targets.",
    )
    splits: Splits = Field(
        default_factory=lambda: FractionSplits(fractions={"train": 0.7, "validation": 0.15, "test": 0.15}),
        description="How rows are assigned to training, validation (selection) and test (the final report). When left "
        "out and the names of several files say their splits, as train.csv and test.csv do, by these names; else 0.7, "
        "0.15 and 0.15 of the rows at random.",
    )
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _stratify_names_a_class_target(self) -> Self:
        if isinstance(self.splits, FractionSplits) and self.splits.stratify is not None:
            target = self.targets.get(self.splits.stratify)
            if target is None or target.kind != "class":
                raise ValueError(f"`splits.stratify` must name a class target, found {self.splits.stratify!r}")
        return self

    @model_validator(mode="after")
    def _labels_of_tokens_name_an_input(self) -> Self:
        for name, target in self.targets.items():
            if isinstance(target, TeacherTarget) and isinstance(target.predicts, PositionOutput):
                raise ValueError(
                    f"`{name}` has outputs of tokens or pixels, which columns do not hold: use a model as teacher"
                )
            if isinstance(target, MapTarget):
                check_map(name, target, self.format, self.inputs)
            if isinstance(target, TokenClassTarget):
                labelled_input(name, target, self.inputs)
        return self

    @model_validator(mode="after")
    def _csv_options_are_for_csv(self) -> Self:
        if self.csv is not None and self.format not in ("csv", "images", "sounds"):
            raise ValueError(f"`csv` says how a csv file is written, but `format` is {self.format}: leave it out")
        return self
