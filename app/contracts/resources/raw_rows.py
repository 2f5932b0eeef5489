"""Rows as people have them: as they stand in a dataset's file, before anything is done to them."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from app.contracts.base import Answer
from app.contracts.resources.manifests import DatasetFormat
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
        "data frames (`1` and `1.0`, `True` and `true`, with a space in front).",
    )
    refused: str | None = Field(
        default=None, description="Why no graph can take such rows, so that a student has no ONNX file; else null."
    )


class RawFile(Answer):
    """How the file is written that the rows stand in."""

    format: DatasetFormat = Field(description="Format of the file.")
    csv: CsvOptions | None = Field(default=None, description="How a csv is written; null for other formats.")
