"""Labels for each pixel of an image."""

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.base import ClassName, Column, Contract, MapShape, left_out

MOST_CLASSES = 1024
"""Largest number of classes of a map."""


class MapTarget(Contract):
    """One class of several for each pixel of a row: an array [height, width] of class numbers.

    A pixel without a label is -1, -100 or `ignore`; a row in which every pixel is one of these has no label.
    """

    kind: Literal["map"]
    column: Column | None = Field(
        default=None,
        description="npz key of the maps, integers [rows, height, width]; the target's name when left out.",
    )
    classes: (
        Annotated[int, Field(ge=2, le=MOST_CLASSES)]
        | Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=MOST_CLASSES)]
    ) = Field(description="Number of classes (labels are integers from 0), or the class names in order.")
    shape: MapShape | None = Field(
        default=None,
        exclude_if=left_out,
        description="[height, width] of the maps, compared with the file; the file's own when left out. It may be "
        "another than that of the image: the student's answers have the size of the maps.",
    )
    ignore: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        exclude_if=left_out,
        description="A further number that means no label, such as 255.",
    )
