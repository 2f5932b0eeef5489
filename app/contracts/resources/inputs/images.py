"""Inputs of images."""

from math import floor
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from app.contracts.base import Column, Contract, Shape, left_out

MOST_SIDE: Final = 1024
"""Largest height or width that images are brought to."""
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Of the files that are read as images, in lower case."""
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]


class ImageForm(Contract):
    """What images become: pixels of one size, 8 bits for each channel."""

    size: Annotated[tuple[Side, Side], Field(description="[height, width] that every image is brought to.")]
    channels: Literal[1, 3] = Field(default=3, description="3 for colours (RGB), 1 for grey values.")
    fit: Literal["crop", "stretch", "pad"] = Field(
        default="crop",
        description="What happens to an image of other proportions: `crop` scales its shorter side to the size and "
        "cuts out the centre; `pad` scales its longer side and adds black borders; `stretch` changes its proportions.",
    )
    filter: Literal["bilinear", "bicubic"] | None = Field(
        default=None,
        exclude_if=left_out,
        description="How pixels are resampled, with antialiasing, as Pillow does: `bicubic`, or `bilinear`, which is "
        "the same as left out.",
    )
    crop: Annotated[float, Field(ge=0.5, le=1)] | None = Field(
        default=None,
        exclude_if=left_out,
        description="The share of the scaled image that is kept, as libraries have it (`crop_pct` of timm, `crop_size` "
        "/ `size` of transformers): its shorter side is scaled to floor(size / crop) pixels and the longer one to "
        "whole pixels, or with `stretch` both sides to floor(size / crop), then the centre is cut out in whole pixels. "
        "Left out, the centre is cut out of the image as it is, and scaled once.",
    )

    @field_validator("filter")
    @classmethod
    def _bilinear_is_left_out(cls, value: Literal["bilinear", "bicubic"] | None) -> Literal["bicubic"] | None:
        """One document, and so one digest, for one meaning."""
        return None if value == "bilinear" else value

    @property
    def scaled(self) -> tuple[int, int] | None:
        """[height, width] that an image covers before its centre is cut out; None where that is not a step."""
        if self.crop is None:
            return None
        height, width = self.size
        return floor(height / self.crop), floor(width / self.crop)

    @model_validator(mode="after")
    def _crop_is_for_crops(self) -> Self:
        if self.crop is not None and self.fit == "pad":
            raise ValueError('`crop` keeps a part of an image, and `"fit": "pad"` all of it: leave one of them out')
        return self

    @property
    def pixels(self) -> Shape:
        """[height, width, channels]."""
        return (*self.size, self.channels)


class ImageInput(ImageForm):
    """Images of any sizes, brought to one size at reading: 8 bits for each channel of a pixel.

    The orientation of EXIF is applied. Palettes and CMYK become the channels asked for, transparency is dropped, and
    of 16 bits the upper 8 are read. Images of several frames are refused.
    """

    kind: Literal["image"]
    column: Column = Field(
        default="image",
        description="Column of the images: `image` in an archive of files; in parquet, one of encoded images.",
    )
    standardize: bool | None = Field(
        default=None,
        exclude_if=left_out,
        description="As for numbers: subtract the mean and divide by the standard deviation of the training split.",
    )

    @property
    def columns(self) -> tuple[str]:
        """The column, as other inputs list theirs."""
        return (self.column,)

    @property
    def form(self) -> ImageForm:
        """The form alone."""
        return ImageForm(**{name: getattr(self, name) for name in ImageForm.model_fields})
