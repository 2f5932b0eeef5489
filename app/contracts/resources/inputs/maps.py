"""Labels for each pixel of an image."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field

from app.contracts.base import ClassName, Column, Contract, MapShape, Name, left_out
from app.contracts.resources.inputs.images import ImageInput

MOST_CLASSES: Final = 1024
"""Largest number of classes of a map."""

_OF_MASKS: Final = ("images", "parquet")
"""Formats of datasets whose maps are mask images."""


class MapTarget(Contract):
    """One class of several for each pixel of a row.

    In npz an array [height, width] of class numbers; beside images in an archive or in parquet a mask, which is a PNG
    with one number for each pixel (the index of a palette, or a grey value of 8 bits) at the size of its image. It is
    brought to the size of the images as they are, by the nearest pixel; borders that are added have no label.

    A pixel without a label is -1, -100 or `ignore`; a row without a mask, or in which every pixel is one of these, has
    no label.
    """

    kind: Literal["map"]
    column: Column | None = Field(
        default=None,
        description="npz key of the maps, integers [rows, height, width]; of images the column of the masks: in "
        "parquet encoded images or null, in an archive the column of `metadata.csv` or `metadata.jsonl` with their "
        "files' paths, as in `file_name`, or empty. These files are no rows. The target's name when left out.",
    )
    classes: (
        Annotated[int, Field(ge=2, le=MOST_CLASSES)]
        | Annotated[tuple[ClassName, ...], Field(min_length=2, max_length=MOST_CLASSES)]
    ) = Field(description="Number of classes (labels are integers from 0), or the class names in order.")
    shape: MapShape | None = Field(
        default=None,
        exclude_if=left_out,
        description="[height, width] of the maps, which may be another than that of the images: the student's answers "
        "have the size of the maps. Arrays are compared with it, and must have the size of the images when it is left "
        "out; masks are brought to it, or to the `size` of the images.",
    )
    input: Name | None = Field(
        default=None,
        exclude_if=left_out,
        description="The input of images that masks are of; may be left out where the dataset has only one.",
    )
    ignore: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        exclude_if=left_out,
        description="A further number that means no label, such as 255.",
    )


def is_of_masks(kind: str) -> bool:
    """Whether maps in a file of this format are mask images, not arrays."""
    return kind in _OF_MASKS


def labelled_image(name: str, target: MapTarget, inputs: Mapping[str, object]) -> str:
    """The input of images that the masks of a target are of. Raises ValueError where that is none, or not clear."""
    known = [each for each, spec in inputs.items() if isinstance(spec, ImageInput)]
    found = known if target.input is None else [each for each in known if each == target.input]
    if len(found) != 1:
        shown = ", ".join(f"`{each}`" for each in known) or "none"
        raise ValueError(
            f"`{name}` has masks of one input of kind `image`, found {shown}: name it in `targets.{name}.input`"
        )
    return found[0]


def check_map(name: str, target: MapTarget, kind: str, inputs: Mapping[str, object]) -> None:
    """Raises ValueError for a format that holds no maps, and for masks of no image."""
    if is_of_masks(kind):
        labelled_image(name, target, inputs)
    elif kind != "npz":
        raise ValueError(
            f"`{name}` is a map, which npz holds as an array and images or parquet as masks, found {kind}: upload one "
            "of these"
        )
    elif target.input is not None:
        raise ValueError(f"`{name}` is an array, whose pixels are of no other file: leave `input` out")
