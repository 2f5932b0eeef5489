"""All images of a dataset as rows of pixels."""

from typing import Any, Final

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import ImageInput
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.common import EncodedFiles
from workers.engine.data.formats.files.decoded import MOST_BYTES, decoded_rows
from workers.engine.data.formats.files.encoded import RawRows, encoded_rows, file_ends
from workers.engine.data.formats.images.decode import pixels

STORED: Final = "images"
"""The folder of images in a store."""
DECODED_BYTES: Final = 2 << 30
"""Of all rows of an input that are always decoded: what a page cache keeps beside jobs."""
TIMES: Final = 2.0
"""Larger ones stay encoded where they would grow so many times or more."""
DECODER: Final = 1
"""To be raised with every change of what an image's pixels are, or of the order of a file's images."""
_LIBRARIES: Final = ("libjpeg_turbo", "zlib", "webp")


def image_rows(name: str, images: EncodedFiles, spec: ImageInput, storage: RowStorage | None, kind: str) -> RawRows:
    """Pixels uint8 [N, channels, height, width] of an input, of a file of format `kind`. With a storage they are mapped
    from its file, which is made once, or stay encoded (see `_stay_encoded`); without one they are in memory.

    Raises the UserErrors of `pixels`, and `too_large`.
    """
    count = len(images)
    height, width, channels = spec.pixels
    row = RowFile(np.dtype(np.uint8), (channels, height, width))
    if count * row.bytes > MOST_BYTES:
        raise UserError(
            "too_large",
            f"input `{name}` has {count} images of {spec.pixels} numbers, {count * row.bytes} bytes decoded, "
            f"{MOST_BYTES} at most: choose a smaller `size`, or upload fewer images",
        )

    def decode(image: str, content: bytes) -> NDArray[np.uint8]:
        return pixels(image, content, spec).transpose(2, 0, 1)

    facts = _facts(spec, kind)
    if storage is not None and _stay_encoded(images, count * row.bytes, storage, facts):
        return encoded_rows(images, row.shape, decode, storage, STORED, facts)
    return decoded_rows(images, row, decode, storage, STORED, facts)


def _stay_encoded(images: EncodedFiles, decoded: int, storage: RowStorage, facts: dict[str, Any]) -> bool:
    """Whether rows of `decoded` bytes are decoded whenever they are taken. The pixels are the same either way.

    A decoded row costs a copy, as long as the page cache has it; so those of DECODED_BYTES are decoded, and those of
    images that are larger than their rows, which would be made smaller again in each epoch.
    """
    if not storage.encoded or decoded <= DECODED_BYTES:
        return False
    return decoded >= TIMES * int(file_ends(images, storage, STORED, facts)[-1])


def _facts(spec: ImageInput, kind: str) -> dict[str, Any]:
    """Everything that the pixels depend on besides the file."""
    return {
        "format": kind,
        "column": spec.column,
        "size": list(spec.size),
        "channels": spec.channels,
        "fit": spec.fit,
        **{name: value for name in ("filter", "crop") if (value := getattr(spec, name)) is not None},
        **decoder_facts(),
    }


def decoder_facts() -> dict[str, Any]:
    """What the pixels of a file depend on besides what is asked for."""
    libraries = {library: features.version(library) for library in _LIBRARIES}
    return {"decoder": DECODER, "pillow": PIL.__version__, "libraries": libraries}
