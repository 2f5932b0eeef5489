"""Mask images as labels of pixels: the index of the palette, or the grey value, is the class."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.inputs.maps import MapTarget
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.common import EncodedFiles
from workers.engine.data.formats.files.decoded import MOST_BYTES, decoded_rows
from workers.engine.data.formats.images.decode import decoding, fitted, opened
from workers.engine.data.formats.images.pixels import decoder_facts
from workers.engine.data.labels.columns import MISSING
from workers.engine.data.labels.maps import labels_of

STORED: Final = "masks"
"""The folder of decoded masks in a store."""
_MODES: Final = ("P", "L", "1")
"""Images with one whole number for each pixel: of a palette, grey in 8 bits, black and white."""
_ORIENTATION: Final = 0x0112
_TURNED: Final = (5, 6, 7, 8)
"""Orientations of EXIF that exchange width and height."""
_FORMATS: Final = ("PNG",)
"""A lossy format changes numbers at the edges."""


def mask_rows(
    name: str, target: MapTarget, masks: EncodedFiles, images: EncodedFiles, form: ImageForm, storage: RowStorage | None
) -> Tensor:
    """Labels int16 [N, height · width] of a target, of `form`, which is that of its images; MISSING for rows without a
    mask, whose files are empty. With a storage they are mapped from its file.

    Raises UserError: `unsupported_image`, `image_too_large`, `broken_image`, `shape_mismatch`, `label_out_of_range`,
    `too_large`.
    """
    row = RowFile(np.dtype(np.int16), (form.size[0] * form.size[1],))
    if len(masks) * row.bytes > MOST_BYTES:
        raise UserError(
            "too_large",
            f"`{name}` has {len(masks)} maps of {form.size} pixels, {MOST_BYTES} bytes at most: choose a smaller size",
        )

    def read(place: int) -> bytes:
        mask = masks.read(place)
        if mask:
            _check_sizes(masks.name(place), opened(masks.name(place), mask, _FORMATS), images, place)
        return mask

    def load(rows: range) -> None:
        masks.load(rows)
        images.load(rows)

    def decode(mask: str, content: bytes) -> NDArray[np.int16]:
        return _decoded(name, mask, content, target, form)

    files = EncodedFiles(len(masks), read, masks.name, load)
    facts = {"target": target.model_dump(mode="json"), "form": form.model_dump(mode="json"), **decoder_facts()}
    return decoded_rows(files, row, decode, storage, STORED, facts)


def _check_sizes(name: str, mask: Image.Image, images: EncodedFiles, row: int) -> None:
    """A mask must have the pixels of its image, both as a person sees them."""
    image = opened(images.name(row), images.read(row))
    (width, height), expected = _seen_size(name, mask), _seen_size(images.name(row), image)
    if (width, height) != expected:
        as_stored = (width, height) == image.size
        raise UserError(
            "shape_mismatch",
            f"the mask `{name}` has {width} x {height} pixels, its image `{images.name(row)}` {expected[0]} x "
            f"{expected[1]}{' after its orientation by EXIF' if as_stored else ''}: write the mask "
            f"{'upright, as the image looks' if as_stored else 'at the size of its image'}",
        )


def _seen_size(name: str, image: Image.Image) -> tuple[int, int]:
    """Width and height after the orientation of EXIF, which a PNG may have at its end."""
    width, height = image.size
    with decoding(name):
        return (height, width) if image.getexif().get(_ORIENTATION, 1) in _TURNED else (width, height)


def _decoded(name: str, mask: str, content: bytes, target: MapTarget, form: ImageForm) -> NDArray[np.int16]:
    if not content:
        return np.full(form.size[0] * form.size[1], MISSING, np.int16)
    image = opened(mask, content, _FORMATS)
    if image.mode not in _MODES:
        raise UserError(
            "unsupported_image",
            f"the mask `{mask}` has pixels of mode {image.mode}, expected the number of a class in each, as a "
            "palette's index or a grey value of 8 bits: write it so, not in colours",
        )
    with decoding(mask):
        numbers = np.asarray(ImageOps.exif_transpose(image))
    labels = labels_of(name, target, numbers[None], lambda _: f"in `{mask}`")[0]
    placed = fitted(Image.fromarray(labels.astype(np.int32)), form, Image.Resampling.NEAREST, border=MISSING)
    return np.asarray(placed).astype(np.int16).reshape(-1)
