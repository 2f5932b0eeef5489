"""A few rows of a dataset, to be shown to people."""

from typing import Final, Literal

from pydantic import Field

from app.contracts.base import Answer, left_out
from app.contracts.resources.splits import SplitName

PREVIEW_ROWS: Final = 24
Shown = int | float | str | bool | None


class ShownSound(Answer):
    """A sound as a line."""

    seconds: float = Field(description="Length of the row, which longer sounds are cut to and shorter ones padded to.")
    envelope: tuple[float, ...] = Field(description="Largest magnitude in each of equal stretches, from 0 to 1.")


class ShownInput(Answer):
    """One input of a row, in one of these forms."""

    whole: bool = Field(
        description="Whether this is the row as `predict` takes it: nothing is cut, scaled or left out of it."
    )

    image: str | None = Field(
        default=None,
        exclude_if=left_out,
        description="A PNG file as a data URL, at most 96 pixels a side: of images and of arrays that look like some, "
        "and of sounds their features (time to the right, frequency upwards).",
    )
    text: str | None = Field(default=None, exclude_if=left_out, description="A text, cut after 500 characters.")
    sound: ShownSound | None = Field(
        default=None, exclude_if=left_out, description="Of sounds whose rows are their samples."
    )
    values: tuple[Shown, ...] | None = Field(
        default=None,
        exclude_if=left_out,
        description="Numbers or categories as they stand in the file, at most 64, dates as seconds since 1970-01-01 "
        "UTC, tokens without padding; null where one is missing.",
    )
    columns: tuple[str, ...] | None = Field(
        default=None, exclude_if=left_out, description="Of `values`, the columns, where each holds one of them."
    )
    shape: tuple[int, ...] | None = Field(default=None, exclude_if=left_out, description="Shape of the whole row.")


ShownTarget = int | float | str | tuple[int | float | str | None, ...] | None
"""A class or several by name (by number where they have none), a number, or numbers, at most 64; null where missing."""


class PreviewRow(Answer):
    """One row."""

    row: int = Field(description="Number of the row in the dataset, from 0.")
    split: SplitName = Field(description="The split that it belongs to.")
    inputs: dict[str, ShownInput] = Field(description="Its inputs by name.")
    targets: dict[str, ShownTarget] = Field(
        description="Its targets by name: a class by its name, or its number where it has none; several classes, "
        "numbers of a vector, and classes of tokens as a list; null where missing, and for maps."
    )


class Preview(Answer):
    """`GET /v1/datasets/{id}/preview`."""

    object: Literal["preview"] = "preview"
    rows: tuple[PreviewRow, ...] = Field(
        description=f"At most {PREVIEW_ROWS} rows, spread evenly over the training split."
    )
