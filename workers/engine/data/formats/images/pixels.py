"""All images of a dataset as one array, decoded by as many threads as torch uses."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.images import ImageInput
from workers.engine.data.formats.encoded_images import EncodedImages
from workers.engine.data.formats.images.decode import pixels

MOST_BYTES = 16 << 30
_ROWS = 64
"""Images of one call of a thread."""


def decoded(name: str, images: EncodedImages, spec: ImageInput) -> NDArray[np.uint8]:
    """Pixels [N, height, width, channels] of an input. Raises the UserErrors of `pixels`, and `too_large`."""
    count = len(images)
    needed = count * int(np.prod(spec.pixels))
    if needed > MOST_BYTES:
        raise UserError(
            "too_large",
            f"input `{name}` has {count} images of {spec.pixels} numbers, {needed} bytes in memory, {MOST_BYTES} at "
            "most: choose a smaller `size`, or upload fewer images",
        )
    found = np.empty((count, *spec.pixels), np.uint8)

    def fill(first: int) -> None:
        for row in range(first, min(first + _ROWS, count)):
            found[row] = pixels(images.name(row), images.read(row), spec)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _ in pool.map(fill, range(0, count, _ROWS)):
            pass
    return found
