"""Networks of libraries, by the name that the library lists: timm and torchvision for images, transformers for images,
texts and sounds.

The API has neither library: a worker builds the network once and measures what the API must know of it
(`MeasuredTrunk`), and the resolved architecture holds the result.
"""

from typing import Annotated, Literal, Self, assert_never

from pydantic import Field, StringConstraints, TypeAdapter, model_validator

from app.contracts.base import Contract, Finite, ModelId, PositiveDeviation, Printable, Shape, digest_of, left_out
from app.contracts.problems import Problem
from app.contracts.specs.families import structure
from app.contracts.specs.families.embeddings import Embedding
from app.contracts.specs.families.family import BuiltFamily, Extra, RowKind, RowSides, StartsFromTeacher
from app.contracts.specs.families.huggingface_configs import (
    BAND_TYPES,
    MOST_IDS,
    MOST_TOKENS,
    SAMPLE_TYPES,
    TAGGING_TYPES,
    TEXT_TYPES,
    ConfigKey,
    ConfigValue,
    ModelType,
    too_large,
)
from app.contracts.specs.families.sounds import SampleReading, SoundRows, misfit_of_sounds

LIBRARY_NAME = r"^[A-Za-z0-9_]{1,100}$"
MOST_PARAMETERS = 1 << 30
"""Most parameters of a trunk: 4 GiB of float32."""
LEAST_SIDE, MOST_SIDE = 8, 1024


InLibrary = Annotated[str, StringConstraints(min_length=1, max_length=200), Printable()]
"""A name in a library."""
Number = Annotated[int, Field(ge=0, le=65_536)]
Size = tuple[Number, Number]
Argument = bool | Number | Size
_NOT_OF_TRUNK = {
    "measured",
    "outputs",
    "inputs",
    "init",
    "input_shape",
    "sharing",
    "pretrained",
    "cut",
    "transform",
    "tokenizer",
}


class MeasuredLayer(Contract):
    """A layer of a measured network that a feature term may tap."""

    name: InLibrary = Field(description="Its name, as a feature term takes it: `trunk.` and the library's name.")
    kind: structure.GroupKind | Literal["conv", "linear", "norm"] = Field(description="What it is.")
    shape: Shape = Field(description="Output shape of one row.")
    parameters: int = Field(
        default=0, ge=0, le=MOST_PARAMETERS, description="Its own parameters, without those of layers listed inside it."
    )


class ImageProcessing(Contract):
    """How the weights that a library publishes under a name expect images."""

    size: Size = Field(description="[height, width] of the images that they were trained on.")
    mean: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=16)] = Field(
        description="Subtracted from each channel, of pixels between 0 and 1."
    )
    std: Annotated[tuple[PositiveDeviation, ...], Field(min_length=1, max_length=16)] = Field(
        description="Divisor of each channel after the mean is subtracted."
    )
    interpolation: InLibrary = Field(description="Filter by which images are resized.")
    crop: float = Field(gt=0.0, le=2.0, description="Share of the resized image's side that is cut out of its centre.")


class MeasuredTrunk(Contract):
    """What a worker measured of a trunk: the network without its classifier."""

    library: InLibrary = Field(description="The library and its version, such as `timm 1.0.31`.")
    features: int = Field(ge=1, le=MOST_PARAMETERS, description="Numbers that the heads read.")
    parameters: int = Field(ge=0, le=MOST_PARAMETERS, description="Number of trainable numbers.")
    flops: int = Field(ge=0, le=1 << 53, description="Floating-point operations of one row.")
    depth: int = Field(ge=0, le=1 << 20, description="Number of its convolutions and linear layers.")
    normalized: bool = Field(description="Whether it has normalisation layers.")
    classifier: InLibrary | None = Field(
        description="The library's name of the linear layer that a single head takes the place of; null where the "
        "network's own classifier is no linear layer."
    )
    arguments: Annotated[dict[InLibrary, Argument], Field(max_length=8)] = Field(
        default_factory=dict, description="What the library's constructor is called with, beside the number of classes."
    )
    layers: Annotated[tuple[MeasuredLayer, ...], Field(max_length=256)] = Field(
        description="Layers that a feature term may tap."
    )
    processing: ImageProcessing | None = Field(
        description="What the library's own weights of this name expect; null where it says nothing."
    )
    unroundable: InLibrary | None = Field(
        default=None,
        exclude_if=left_out,
        description="A convolution or linear layer that computes in its own way, or whose weight is used without "
        "it, so that quantization-aware training cannot round it; left out where there is none.",
    )
    vocabulary: int | None = Field(
        default=None,
        ge=1,
        le=MOST_IDS,
        exclude_if=left_out,
        description="For a network of texts: ids of tokens are below this number.",
    )
    padding: int | None = Field(
        default=None,
        ge=0,
        le=MOST_IDS,
        exclude_if=left_out,
        description="For a network of texts: the id that fills rows up, which counts as no token.",
    )


class LibraryFamily(BuiltFamily):
    """Base of the families that a library builds. The trunk has random weights unless a file brings them.

    Names: `trunk.<the library's>`, and the heads as in `mlp` (`layers.0` with one output). In safetensors and
    state_dict files the names are the library's own, without `trunk.`, and a single head is its classifier.
    """

    name: Annotated[str, StringConstraints(pattern=LIBRARY_NAME)] = Field(
        description="Name of the network as the library lists it."
    )
    sharing: Literal["hard"] = Field(
        default="hard", description="One trunk and one head a task: the only scheme for networks of a library."
    )
    measured: MeasuredTrunk | None = Field(
        default=None,
        exclude_if=left_out,
        description="What a worker measured of the network. The service fills it in: what a request has here is not "
        "used.",
    )

    @property
    def input_sides(self) -> RowSides:
        return (("channels", "height", "width"),)

    @property
    def extra(self) -> Extra | None:
        return "vision"

    @property
    def is_described(self) -> bool:
        return super().is_described and self.measured is not None

    def trunk_digest(self, input_shape: structure.Shape) -> str:
        """The key of the trunk's measurement for rows of this shape."""
        return digest_of({**self.model_dump(mode="json", exclude=_NOT_OF_TRUNK), "input_shape": list(input_shape)})

    def misfits(self, input_shape: structure.Shape) -> list[Problem]:
        sides = input_shape[1:]
        if all(LEAST_SIDE <= side <= MOST_SIDE for side in sides):
            return []
        detail = (
            f"images of {' x '.join(map(str, sides))} pixels, expected sides of {LEAST_SIDE} to {MOST_SIDE}: "
            "choose another `size` of the dataset's images"
        )
        return [Problem(pointer="/input_shape", code="shape_mismatch", detail=detail)]

    def _trunk(self, input_shape: structure.Shape) -> structure.Trunk:
        if self.measured is None:
            raise ValueError(f"`{self.name}` is not measured: a worker does that before a network is described")
        layers = tuple(
            structure.NamedOutput(each.name, each.kind, each.shape, each.parameters) for each in self.measured.layers
        )
        part = structure.MeasuredPart(
            "trunk",
            parameters=self.measured.parameters,
            flops=self.measured.flops,
            depth=self.measured.depth,
            normalized=self.measured.normalized,
            layers=layers,
        )
        return structure.Trunk(stages=(), features=self.measured.features, begin=(part,))


class Timm(LibraryFamily):
    """A network of timm (PyTorch Image Models), such as `mobilenetv3_small_050`; `timm.list_models()` lists them."""

    family: Literal["timm"]


class Torchvision(LibraryFamily):
    """A classification network of torchvision, such as `shufflenet_v2_x0_5`; it takes images of three channels."""

    family: Literal["torchvision"]

    def misfits(self, input_shape: structure.Shape) -> list[Problem]:
        if input_shape[0] == 3:
            return super().misfits(input_shape)
        detail = (
            f"networks of torchvision take 3 channels, found {input_shape[0]}: give the dataset's images "
            '`"channels": 3`, or use a network of timm'
        )
        return [Problem(pointer="/input_shape", code="shape_mismatch", detail=detail)]


class HuggingFace(LibraryFamily):
    """A network for classification of Hugging Face's transformers, of images, texts or sounds: its model type, and what
    its configuration has beside the defaults of that type. Size and channels of images, and numbers of bands and frames
    of sounds, are those of the rows.

    A row of a type for texts is [tokens], of ids below `vocab_size`, filled up with `pad_token_id`; rows may be
    narrower than `input_shape`. Where `sep_token_id` is given to a type with token types, tokens after the first
    separator are those of the second text of a pair.
    """

    family: Literal["huggingface"]
    name: ModelType = Field(description="The `model_type` of its configuration.")
    config: Annotated[dict[ConfigKey, ConfigValue], Field(max_length=64)] = Field(
        default_factory=dict,
        description="Keys of the configuration of this type, such as `hidden_size`; the defaults of transformers where "
        "they are left out, except for `max_position_embeddings`, which follows the rows. A worker refuses keys that "
        "the type does not have.",
    )
    answers: Literal["tokens"] | None = Field(
        default=None,
        exclude_if=left_out,
        description="`tokens`: the head answers for each token of a row, as tagging needs it; for the row when left "
        "out. The service fills it in for a target of labels of tokens.",
    )
    embedding: Embedding | None = Field(
        default=None,
        exclude_if=left_out,
        description="The encoder alone, without a classifier: the output is a `vector`, that of the pooled last layer "
        "where it is as wide, else a linear layer of it. A network for classification when left out.",
    )
    samples: SampleReading | None = Field(
        default=None,
        exclude_if=left_out,
        description="For a type that reads the samples of sounds, such as `wav2vec2`: how it reads a sound.",
    )
    tokenizer: ModelId | None = Field(
        default=None,
        exclude_if=left_out,
        description="For texts: id of a model, such as the teacher, whose tokenizer the network reads with; that of "
        "`pretrained`, else the dataset's when left out.",
    )

    @property
    def tokenizer_model(self) -> str | None:
        return self.tokenizer or self.pretrained

    def named_models(self) -> dict[str, str]:
        return super().named_models() | ({"tokenizer": self.tokenizer} if self.tokenizer is not None else {})

    @model_validator(mode="after")
    def _sizes_are_bounded(self) -> Self:
        wrong = too_large(self.config)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @property
    def reads(self) -> RowKind:
        return "tokens" if self.name in TEXT_TYPES else "numbers"

    @property
    def sound_rows(self) -> SoundRows | None:
        """What its rows are of a sound; None of types for images and texts."""
        if self.name in SAMPLE_TYPES:
            return "samples"
        return "bands" if self.name in BAND_TYPES else None

    @property
    def sample_reading(self) -> SampleReading | None:
        """How it reads samples; None of types that read something else. Types that normalise layers of their first
        convolutions were trained with masks, those that normalise groups without.
        """
        if self.sound_rows != "samples":
            return None
        of_layers = self.name == "data2vec-audio" or self.config.get("feat_extract_norm") == "layer"
        return self.samples or SampleReading(mask=of_layers)

    @property
    def input_sides(self) -> RowSides:
        match self.sound_rows:
            case "samples":
                return (("channels", "samples"),)
            case "bands":
                return (("channels", "mels", "frames"),)
            case None:
                return (("tokens",),) if self.reads == "tokens" else super().input_sides
            case _:
                assert_never(self.sound_rows)

    @property
    def extra(self) -> Extra | None:
        return "text" if self.reads == "tokens" or self.sound_rows is not None else super().extra

    def misfits(self, input_shape: structure.Shape) -> list[Problem]:
        if self.answers == "tokens" and self.name not in TAGGING_TYPES:
            detail = f"`{self.name}` has no head for each token, expected one of {', '.join(sorted(TAGGING_TYPES))}: "
            return [Problem(pointer="/name", code="network_misfit", detail=f"{detail}use another network")]
        if self.answers == "tokens" and self.embedding is not None:
            detail = "an encoder with `embedding` has one vector a row, and none for each token: leave it out"
            return [Problem(pointer="/embedding", code="network_misfit", detail=detail)]
        if self.samples is not None and self.sound_rows != "samples":
            detail = f"`{self.name}` reads no samples of sounds: leave `samples` out"
            return [Problem(pointer="/samples", code="network_misfit", detail=detail)]
        if self.name == "whisper" and self.embedding is not None:
            detail = "`whisper` without a classifier is an encoder and a decoder: leave `embedding` out"
            return [Problem(pointer="/embedding", code="network_misfit", detail=detail)]
        if self.sound_rows is not None:
            wrong = misfit_of_sounds(self.name, self.sound_rows, input_shape)
            return [] if wrong is None else [Problem(pointer="/input_shape", code="shape_mismatch", detail=wrong)]
        if self.reads == "numbers":
            return super().misfits(input_shape)
        if input_shape[0] <= MOST_TOKENS:
            return []
        detail = (
            f"rows of {input_shape[0]} tokens, {MOST_TOKENS} at most: choose a smaller `length` of the dataset's texts"
        )
        return [Problem(pointer="/input_shape", code="shape_mismatch", detail=detail)]

    def for_tokens(self, vocabulary: int, padding: int, separator: int | None = None) -> Self:
        """The network for ids below `vocabulary`, filled up with `padding`, where its configuration leaves them out.

        `separator`: the id between the texts of a pair, where the tokenizer says that the second has another type.
        """
        of_tokens = {"vocab_size": vocabulary, "pad_token_id": padding}
        if separator is not None:
            of_tokens["sep_token_id"] = separator
        return self.model_copy(update={"config": {**of_tokens, **self.config}})


LibraryArchitecture = Timm | Torchvision | HuggingFace
LibraryNetwork = Annotated[LibraryArchitecture, Field(discriminator="family")]
LIBRARY_ARCHITECTURE: TypeAdapter[LibraryArchitecture] = TypeAdapter(LibraryNetwork)


def trunk_alone(network: LibraryArchitecture, input_shape: structure.Shape) -> LibraryArchitecture:
    """What is measured of a network: its trunk for rows of this shape."""
    given = network.model_dump(exclude=_NOT_OF_TRUNK)
    return LIBRARY_ARCHITECTURE.validate_python({**given, "input_shape": input_shape})


class StudentTimm(StartsFromTeacher, Timm):
    """A network of timm as a student."""


class StudentTorchvision(StartsFromTeacher, Torchvision):
    """A network of torchvision as a student."""


class StudentHuggingFace(StartsFromTeacher, HuggingFace):
    """A network of transformers as a student."""
