"""From the bytes of an image file to pixels of the size that a manifest asks for.

Only Pillow's readers of the formats in FORMATS run, and an image's size is checked before it is decoded.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Final, assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.contracts.problems import UserError
from app.contracts.resources.inputs.images import IMAGE_SUFFIXES, ImageForm

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP")
MOST_PIXELS: Final = 1 << 26
"""Of one image before it is brought to its size: a square of 8192."""
_SIXTEEN_BITS: Final = ("I;16", "I;16B", "I;16L", "I")
_MODES: Final = {1: "L", 3: "RGB"}
_FILTERS: Final = {None: Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Image.MAX_IMAGE_PIXELS = None  # checked here, with an error of our own instead of a warning
warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that is not read


def pixels(name: str, encoded: bytes, spec: ImageForm) -> NDArray[np.uint8]:
    """Pixels [height, width, channels] of an encoded image.

    Raises UserError: `unsupported_image`, `image_too_large`, `broken_image`.
    """
    image = opened(name, encoded)
    with decoding(name):
        ImageOps.exif_transpose(image, in_place=True)  # without it every image is copied
        _check_scaled(name, image, spec)
        return np.asarray(fitted(_in_mode(image, _MODES[spec.channels]), spec), dtype=np.uint8).reshape(spec.pixels)


def _check_scaled(name: str, image: Image.Image, spec: ImageForm) -> None:
    """Raises UserError `image_too_large` for a narrow image that would be scaled to one of too many pixels."""
    covering = scaled_size((image.width, image.height), spec)
    if covering is not None and prod(covering) > MOST_PIXELS:
        raise UserError(
            "image_too_large",
            f"`{name}` has {image.width} x {image.height} pixels and would be scaled to {covering[0]} x {covering[1]}, "
            f"{MOST_PIXELS} pixels at most: cut it to the part that is meant, or leave it out",
        )


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Raises UserError `broken_image` for whatever Pillow's decoders raise."""
    try:
        yield
    except (MemoryError, UserError):
        raise
    except Exception:
        raise UserError(
            "broken_image", f"`{name}` cannot be decoded, it is truncated or damaged: write it again, or leave it out"
        ) from None


def opened(name: str, encoded: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """An image of which nothing is decoded yet. Raises UserError `unsupported_image`, `image_too_large`."""
    try:
        image = Image.open(io.BytesIO(encoded), formats=formats)
    except Exception:  # Pillow's readers raise whatever their format's parser does
        raise UserError(
            "unsupported_image",
            f"`{name}` is no image of {', '.join(formats)}: expected files of {', '.join(_suffixes(formats))}, "
            "write it as one of these, or leave it out",
        ) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UserError(
            "image_too_large",
            f"`{name}` has {width} x {height} pixels, {MOST_PIXELS} at most: scale it down before uploading",
        )
    frames: int = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(
            "unsupported_image",
            f"`{name}` has {frames} frames, expected one: write the frame that is meant as an image",
        )
    return image


def _suffixes(formats: tuple[str, ...]) -> Sequence[str]:
    return IMAGE_SUFFIXES if formats == FORMATS else [f".{each.lower()}" for each in formats]


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:  # which Pillow would clip to 255
        upper = np.asarray(image).astype(np.int64) >> 8
        image = Image.fromarray(np.clip(upper, 0, 255).astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


def fitted(
    image: Image.Image, spec: ImageForm, sampling: Image.Resampling | None = None, border: int = 0
) -> Image.Image:
    """The image in the size asked for, by the antialiased filter of the form unless another `sampling` is given; bits
    of one of that size stay. `border`: the number of pixels that padding adds.
    """
    height, width = spec.size
    sampling = _FILTERS[spec.filter] if sampling is None else sampling
    covering = scaled_size(image.size, spec)
    if covering is not None:
        left, top = ((side - kept) // 2 for side, kept in zip(covering, (width, height), strict=True))
        return image.resize(covering, sampling).crop((left, top, left + width, top + height))
    match spec.fit:
        case "stretch":
            return image.resize((width, height), sampling)
        case "pad":
            return _padded(image, width, height, sampling, border)
        case "crop":
            return ImageOps.fit(image, (width, height), sampling)
        case _:
            assert_never(spec.fit)


def scaled_size(size: tuple[int, int], spec: ImageForm) -> tuple[int, int] | None:
    """(width, height) to which an image of `size` is scaled before its centre is cut out: both sides as the form has
    them, or one, and the other at least so long, rounded down. None where an image is scaled after it is cut.

    This rounding, and that of the centre's place, are those of transformers' image processors. torchvision and timm
    round the place to the nearest even number: one pixel more where an image is longer by 3, 7, 11, … pixels.
    """
    if spec.scaled is None:
        return None
    (width, height), (high, wide) = size, spec.scaled
    if spec.fit == "stretch":
        return wide, high
    if width * high <= height * wide:
        return wide, max(high, int(wide * height / width))
    return max(wide, int(high * width / height)), high


def _padded(image: Image.Image, width: int, height: int, sampling: Image.Resampling, border: int) -> Image.Image:
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    borders = Image.new(image.mode, (width, height), border)
    borders.paste(image.resize(size, sampling), ((width - size[0]) // 2, (height - size[1]) // 2))
    return borders
