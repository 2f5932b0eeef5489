"""Rows as people have them: as they stand in a dataset's file, before anything is done to them."""

from collections.abc import Mapping
from math import prod
from typing import Literal, assert_never

from pydantic import Field

from app.contracts.base import Answer, left_out
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import DatasetFormat, InputTransform
from app.contracts.resources.row_layouts import is_large_offset
from app.contracts.resources.tables import CsvOptions

RawType = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "string",
]


Spellings = Mapping[str, str | None]
"""Texts that mean a category, or none (null)."""


class RawInput(Answer):
    """Type and shape of an input's rows in the dataset's file, and the shape that the engine gives them.

    What replaces missing numbers and categories is in the input's `encoding`, scale and statistics in its transform.
    """

    dtype: RawType = Field(
        description="Type of the numbers. `string`: categories as text. Numbers of a table are float64 (float32 where "
        "a parquet file has all of them so), NaN where missing."
    )
    shape: tuple[int, ...] = Field(description="Shape of one row in the file; empty for one number a row.")
    arranged: tuple[int, ...] = Field(description="The shape into which a row is brought, in C order.")
    channels_last: bool = Field(default=False, description="Whether the last side of `arranged` is moved to the front.")
    image: ImageForm | None = Field(
        default=None,
        exclude_if=left_out,
        description="Where the file has images: how they become the pixels of a row, which the ONNX file takes.",
    )
    audio: AudioForm | None = Field(
        default=None,
        exclude_if=left_out,
        description="Where the file has sounds: how they become the features of a row, which the ONNX file takes.",
    )
    tokens: TokenEncoding | None = Field(
        default=None,
        exclude_if=left_out,
        description="Where the file has texts: how they become the ids of a row, which the ONNX file takes.",
    )
    rows: Literal["float32", "float64"] = Field(
        description="Type to which numbers are rounded before the transform, float64 where float32 is too coarse."
    )
    columns: tuple[str, ...] = Field(
        default=(),
        description="The columns of the table, or keys of the npz file, that the numbers of a row are read from, in "
        "the order of the numbers; one that holds a whole row stands alone. Empty where no dataset is known.",
    )
    spellings: tuple[dict[str, str | None], ...] = Field(
        default=(),
        description="Of each column of categories, texts of the file that no rule tells: the category that each means, "
        "or null for none. Beside them a category may be written as it is, and in the usual ways of Python, numpy and "
        "data frames (`1` and `1.0`, `True` and `true`, with a space in front). Other spaces or tabs around it make an "
        "unseen category of it in the ONNX file.",
    )
    refused: str | None = Field(
        default=None, description="Why no graph can take such rows, so that a student has no ONNX file; else null."
    )


class RawFile(Answer):
    """How the file is written that the rows stand in."""

    format: DatasetFormat = Field(description="Format of the file.")
    csv: CsvOptions | None = Field(default=None, description="How a csv is written; null for other formats.")


def form_of(transform: InputTransform, shape: tuple[int, ...]) -> RawInput:
    """What a person sends to a model of which no dataset is known: float32 rows of the model's shape, float64 where
    they are far from zero; categories as text; pixels and features of files as the model's own form makes them.
    """
    encoding, last = transform.encoding, transform.layout == "channels_last"
    if encoding is not None and encoding.categories is not None:
        columns = (len(encoding.columns),)
        return RawInput(dtype="string", shape=columns, arranged=columns, rows="float32")
    if encoding is not None and encoding.missing == "indicator":
        shape = (prod(shape) // 2,)
    if transform.tokens is not None:
        tokens = transform.tokens
        return RawInput(dtype="int64", shape=shape, arranged=shape, rows="float32", tokens=tokens)
    if transform.form is not None:
        return _of_files(transform.form)
    wide = "float64" if is_large_offset(transform.mean, transform.std) else "float32"
    return RawInput.model_validate(
        {"dtype": wide, "shape": shape, "arranged": shape, "channels_last": last, "rows": wide}
    )


def _of_files(form: ImageForm | AudioForm) -> RawInput:
    match form:
        case ImageForm():
            return RawInput(
                dtype="uint8", shape=form.pixels, arranged=form.pixels, channels_last=True, image=form, rows="float32"
            )
        case AudioForm():
            return RawInput(dtype="float32", shape=form.row, arranged=form.row, audio=form, rows="float32")
        case _:
            assert_never(form)
