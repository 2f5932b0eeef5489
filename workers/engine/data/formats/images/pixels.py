"""All images of a dataset as rows of pixels."""

from typing import Any, Final

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import ImageInput
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.common import EncodedFiles
from workers.engine.data.formats.files.decoded import MOST_BYTES, decoded_rows
from workers.engine.data.formats.images.decode import pixels

STORED: Final = "images"
"""The folder of decoded images in a store."""
DECODER: Final = 1
"""To be raised with every change of what an image's pixels are, or of the order of a file's images."""
_LIBRARIES: Final = ("libjpeg_turbo", "zlib", "webp")


def decoded(name: str, images: EncodedFiles, spec: ImageInput, storage: RowStorage | None, kind: str) -> Tensor:
    """Pixels uint8 [N, channels, height, width] of an input, of a file of format `kind`. With a storage they are mapped
    from its file, which is made once; without one they are in memory.

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

    return decoded_rows(images, row, decode, storage, STORED, _facts(spec, kind))


def _facts(spec: ImageInput, kind: str) -> dict[str, Any]:
    """Everything that the pixels depend on besides the file."""
    return {
        "format": kind,
        "column": spec.column,
        "size": list(spec.size),
        "channels": spec.channels,
        "fit": spec.fit,
        **decoder_facts(),
    }


def decoder_facts() -> dict[str, Any]:
    """What the pixels of a file depend on besides what is asked for."""
    libraries = {library: features.version(library) for library in _LIBRARIES}
    return {"decoder": DECODER, "pillow": PIL.__version__, "libraries": libraries}
