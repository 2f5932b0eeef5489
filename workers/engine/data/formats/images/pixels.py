"""All images of a dataset as rows of pixels, decoded by as many threads as torch uses."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import features
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import ImageInput
from workers.engine.common.row_storage import RowStorage
from workers.engine.common.row_store import RowFile
from workers.engine.data.formats.encoded_images import EncodedImages
from workers.engine.data.formats.images.decode import pixels

MOST_BYTES: Final = 16 << 30
STORED: Final = "images"
"""The folder of decoded images in a store."""
DECODER: Final = 1
"""To be raised with every change of what an image's pixels are, or of the order of a file's images."""
_LIBRARIES: Final = ("libjpeg_turbo", "zlib", "webp")
_MOST_ROWS, _MOST_BLOCK_BYTES = 4096, 16 << 20
"""Of a block, which is all that is in memory at a time."""
_LOADED, _ROWS = 64, 8
"""Encoded images in memory for each thread, and those that it decodes in one call."""


def decoded(name: str, images: EncodedImages, spec: ImageInput, storage: RowStorage | None, kind: str) -> Tensor:
    """Pixels uint8 [N, channels, height, width] of an input, of a file of format `kind`. With a storage they are mapped
    from its file, which is made once; without one they are in memory.

    Raises the UserErrors of `pixels`, and `too_large`.
    """
    count = len(images)
    height, width, channels = spec.pixels
    file = RowFile(np.dtype(np.uint8), (channels, height, width))
    if count * file.bytes > MOST_BYTES:
        raise UserError(
            "too_large",
            f"input `{name}` has {count} images of {spec.pixels} numbers, {count * file.bytes} bytes decoded, "
            f"{MOST_BYTES} at most: choose a smaller `size`, or upload fewer images",
        )
    if storage is not None:
        return storage.rows(STORED, _facts(spec, kind), count, file, lambda: _blocks(images, spec, file))
    found = np.empty((count, *file.shape), np.uint8)
    first = 0
    for block in _blocks(images, spec, file):
        found[first : first + len(block)] = block
        first += len(block)
    return torch.from_numpy(found)


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


def _blocks(images: EncodedImages, spec: ImageInput, file: RowFile) -> Iterator[NDArray[np.uint8]]:
    """Blocks [n, channels, height, width] in the order of the images; one is overwritten by the next."""
    count, threads = len(images), torch.get_num_threads()
    size = min(count, _MOST_ROWS, max(2 * threads, _MOST_BLOCK_BYTES // file.bytes))
    block = np.empty((size, *file.shape), np.uint8)

    def fill(begin: int, rows: range) -> None:
        for row in rows:
            block[row - begin] = pixels(images.name(row), images.read(row), spec).transpose(2, 0, 1)

    with ThreadPoolExecutor(threads) as pool:
        for begin in range(0, count, size):
            for rows in _parts(range(begin, min(begin + size, count)), _LOADED * threads):
                images.load(rows)
                for _ in pool.map(partial(fill, begin), _parts(rows, _ROWS)):
                    pass
            yield block[: min(size, count - begin)]


def _parts(rows: range, size: int) -> list[range]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]
