"""An image becomes the pixels that a person sees, in the size that the manifest asks for; what is no image is refused
by name.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.contracts.problems import UserError
from tests.engine.data.formats.images.archives import encoded, noise, pixels_of

ORIENTATION = 0x0112
TURNED_RIGHT = 6


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_an_image_of_the_size_keeps_its_bits(kind: str, fit: str) -> None:
    image = noise()
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(pixels_of(encoded(image, kind, **options), size=(6, 8), fit=fit), image)


def test_a_jpeg_has_the_pixels_that_pillow_decodes() -> None:
    file = encoded(noise(32, 48), "JPEG")
    with Image.open(io.BytesIO(file)) as image:
        np.testing.assert_array_equal(pixels_of(file, size=(32, 48)), np.asarray(image))


def test_crop_takes_the_centre_pad_adds_borders_and_stretch_changes_proportions() -> None:
    image = np.zeros((4, 8, 1), np.uint8)
    image[:, 2:6] = 200
    file = encoded(image)
    assert (pixels_of(file, size=(4, 4), channels=1, fit="crop") == 200).all()
    stretched = pixels_of(file, size=(4, 4), channels=1, fit="stretch")
    assert (stretched[:, 1:3] > 150).all()
    assert (stretched[:, [0, 3]] < 60).all()
    padded = pixels_of(encoded(np.full((4, 8, 1), 200, np.uint8)), size=(8, 8), channels=1, fit="pad")
    assert (padded[:2] == 0).all()
    assert (padded[2:6] == 200).all()
    assert (padded[6:] == 0).all()


def test_the_orientation_of_a_camera_is_applied() -> None:
    image, exif = Image.fromarray(noise(6, 8)), Image.Exif()
    exif[ORIENTATION] = TURNED_RIGHT
    expected = np.asarray(image.transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_array_equal(pixels_of(encoded(image, "PNG", exif=exif), size=(8, 6)), expected)


def test_16_bits_become_the_upper_8_instead_of_white() -> None:
    deep = np.array([[0, 255, 256, 65535]], np.uint16)
    image = Image.fromarray(deep)
    assert pixels_of(encoded(image), size=(1, 4), channels=1).ravel().tolist() == [0, 0, 1, 255]


def test_other_colours_become_those_asked_for() -> None:
    image = Image.fromarray(noise())
    grey = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(pixels_of(encoded(image), size=(6, 8), channels=1)[..., 0], grey)
    np.testing.assert_array_equal(pixels_of(encoded(image.convert("L")), size=(6, 8)), np.stack([grey] * 3, axis=-1))
    transparent = image.copy()
    transparent.putalpha(7)
    np.testing.assert_array_equal(pixels_of(encoded(transparent), size=(6, 8)), np.asarray(image))
    palette = image.quantize(16)
    np.testing.assert_array_equal(pixels_of(encoded(palette), size=(6, 8)), np.asarray(palette.convert("RGB")))
    inks = image.convert("CMYK")
    file = encoded(inks, "JPEG", quality=100)
    with Image.open(io.BytesIO(file)) as decoded:
        np.testing.assert_array_equal(pixels_of(file, size=(6, 8)), np.asarray(decoded.convert("RGB")))


REFUSED = {
    "text": (b"GIF89a is a text here", "unsupported_image"),
    "nothing": (b"", "unsupported_image"),
    "a gif": (encoded(noise(), "GIF"), "unsupported_image"),
    "a tiff": (encoded(noise(), "TIFF"), "unsupported_image"),
    "an icon": (encoded(noise(16, 16), "ICO"), "unsupported_image"),
    "an svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "unsupported_image"),
    "an animated png": (
        encoded(Image.fromarray(noise()), save_all=True, append_images=[Image.fromarray(noise(seed=1))]),
        "unsupported_image",
    ),
    "an animated webp": (
        encoded(Image.fromarray(noise()), "WEBP", save_all=True, append_images=[Image.fromarray(noise(seed=1))]),
        "unsupported_image",
    ),
    "a png of 60000 x 60000 in a few bytes": (png_of(60_000, 60_000), "image_too_large"),
    "a png that lacks its pixels": (png_of(640, 480), "broken_image"),
    "a png of no width": (png_of(0, 8), "unsupported_image"),
    "a truncated png": (encoded(noise(64, 64))[:-400], "broken_image"),
    "a truncated jpeg": (encoded(noise(64, 64), "JPEG")[:-400], "broken_image"),
    "a truncated webp": (encoded(noise(64, 64), "WEBP")[:-400], "unsupported_image"),
    "a truncated bmp": (encoded(noise(64, 64), "BMP")[:-400], "broken_image"),
    "a jpeg's first bytes": (encoded(noise(), "JPEG")[:12], "unsupported_image"),
    "a png with a damaged chunk": (encoded(noise(64, 64)).replace(b"IDAT", b"IDBT"), "unsupported_image"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_whole_image_of_one_frame_is_refused_by_name(case: str) -> None:
    file, code = REFUSED[case]
    with pytest.raises(UserError) as caught:
        pixels_of(file, size=(6, 8))
    assert caught.value.code == code
    assert "`a.png`" in caught.value.message


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("shape", [(1, 4000, 3), (4000, 1, 3)])
def test_a_line_of_pixels_has_the_size_too(shape: tuple[int, ...], fit: str) -> None:
    found = pixels_of(encoded(np.full(shape, 9, np.uint8)), size=(6, 8), fit=fit)
    assert found.shape == (6, 8, 3)
    assert found.max() == 9
