"""Images become the pixels that the evaluation transforms of libraries make of them."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.contracts.problems import UserError
from tests.engine.data.formats.images.archives import Pixels, encoded, pixels_of
from workers.engine.models.families.library.packages import package

SIZES = [(61, 40), (40, 61), (50, 50), (131, 23), (30, 33), (97, 95)]
"""[height, width] of images: narrow ones, and some smaller than what they are brought to."""
PLAIN = {"do_rescale": False, "do_normalize": False}


def photo(height: int, width: int) -> bytes:
    """A JPEG with edges and gradients."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 3 + y / 7), np.cos(y / 2), np.sign(np.sin((x + y) / 5))]
    return encoded((np.stack(waves, axis=-1) * 120 + 128).astype(np.uint8), "JPEG", quality=90)


def by_processor(name: str, kind: str, file: bytes, settings: Mapping[str, Any]) -> Pixels:
    """[height, width, channels] of a processor of transformers. `kind`: `_pil` for the one that uses Pillow."""
    module = package(f"transformers.models.{name.lower()}.image_processing{kind}_{name.lower()}")
    processor = getattr(module, f"{name}ImageProcessor{kind.title().strip('_')}")(**settings, **PLAIN)
    with Image.open(io.BytesIO(file)) as image:
        rows = processor(image, return_tensors="np")["pixel_values"]
    made: Pixels = np.asarray(rows)[0].transpose(1, 2, 0).astype(np.uint8)
    return made


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ViT": ({"size": {"height": 32, "width": 48}, "resample": 2}, {"size": (32, 48), "fit": "stretch"}),
    "DeiT": (
        {"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}, "resample": 3},
        {"size": (32, 32), "filter": "bicubic", "fit": "stretch", "crop": 32 / 36},
    ),
    "CLIP": (
        {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, "resample": 3},
        {"size": (32, 32), "filter": "bicubic", "crop": 32 / 36},
    ),
    "CLIP that scales to its size": (
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "resample": 3},
        {"size": (32, 32), "filter": "bicubic", "crop": 1.0},
    ),
    "ConvNext": (
        {"size": {"shortest_edge": 32}, "crop_pct": 0.875, "resample": 3},
        {"size": (32, 32), "filter": "bicubic", "crop": 0.875},
    ),
    "ConvNext of 384 pixels": (
        {"size": {"shortest_edge": 384}, "crop_pct": 0.875, "resample": 3},
        {"size": (384, 384), "filter": "bicubic", "fit": "stretch"},
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_image_processors_that_use_pillow(case: str, size: tuple[int, int]) -> None:
    settings, form = CASES[case]
    name, file = case.partition(" ")[0], photo(*size)
    found = pixels_of(file, **form)
    np.testing.assert_array_equal(found, by_processor(name, "_pil", file, settings))
    by_torch = by_processor(name, "", file, settings)
    assert np.abs(found.astype(int) - by_torch).max() <= 2, "of 255: torch rounds between the two directions"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.9, 0.875, 1.0])
@pytest.mark.parametrize("filter_", ["bilinear", "bicubic"])
def test_pixels_are_those_of_timm_but_for_a_shift_by_one(size: tuple[int, int], share: float, filter_: str) -> None:
    file = photo(*size)
    create = package("timm.data").create_transform
    with Image.open(io.BytesIO(file)) as image:
        made = create((3, 48, 48), interpolation=filter_, crop_pct=share, use_prefetcher=True)(image)
    theirs = np.asarray(made).transpose(1, 2, 0)
    given = {"filter": filter_} if filter_ == "bicubic" else {}
    ours = pixels_of(file, size=(48, 48), crop=share, **given)
    scaled = int(48 / share)
    longer = int(scaled * max(size) / min(size)) - 48, scaled - 48
    if all(rest % 4 != 3 for rest in longer):
        np.testing.assert_array_equal(ours, theirs)
        return
    rows, columns = (int(rest % 4 == 3) for rest in (longer if size[0] > size[1] else longer[::-1]))
    np.testing.assert_array_equal(ours[rows:, columns:], theirs[: 48 - rows, : 48 - columns])


def test_a_share_belongs_to_a_crop_and_narrow_images_are_refused() -> None:
    with pytest.raises(ValueError, match="`crop` keeps a part of an image"):
        pixels_of(photo(8, 8), size=(4, 4), fit="pad", crop=0.9)
    line = encoded(np.zeros((2, 600, 3), np.uint8))
    assert pixels_of(line, size=(256, 256), crop=1.0).shape == (256, 256, 3)
    with pytest.raises(UserError, match="has 600 x 2 pixels and would be scaled to 307200 x 1024") as caught:
        pixels_of(line, size=(1024, 1024), crop=1.0)
    assert caught.value.code == "image_too_large"
