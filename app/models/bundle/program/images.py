"""`python images.py ROWS.npz FILE_OR_FOLDER …`: image files as rows for `predict.py`, in the order of their paths.

Needs numpy and Pillow. The pixels are those that the service makes of the same files.
"""

import json
import sys
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
INPUTS = json.loads((Path(__file__).parent / "config.json").read_text("utf-8"))["inputs"]
((NAME, COLUMN, FORM),) = [(name, each["columns"][0], each["raw"]["image"]) for name, each in INPUTS.items()]

FILTER = Image.Resampling.BICUBIC if FORM.get("filter") == "bicubic" else Image.Resampling.BILINEAR


def upright(path: Path) -> Image.Image:
    """An image as a person sees it, in the channels of the model; of 16 bits the upper 8."""
    image: Image.Image = Image.open(path)
    if getattr(image, "n_frames", 1) > 1:
        sys.exit(f"{path} has several frames: write the one that is meant as an image")
    if image.mode.startswith("I"):
        image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    mode = {1: "L", 3: "RGB"}[FORM["channels"]]
    return image if image.mode == mode else image.convert(mode)


def cut_out(image: Image.Image, width: int, height: int) -> Image.Image:
    """The centre of the scaled image, of which the share `crop` is kept."""
    wide, high = floor(width / FORM["crop"]), floor(height / FORM["crop"])
    if FORM["fit"] == "stretch":
        size = wide, high
    elif image.width * high <= image.height * wide:
        size = wide, max(high, int(wide * image.height / image.width))
    else:
        size = max(wide, int(high * image.width / image.height)), high
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return image.resize(size, FILTER).crop((left, top, left + width, top + height))


def pixels(path: Path) -> NDArray[np.uint8]:
    """[height, width, channels] in 8 bits."""
    image, (height, width) = upright(path), FORM["size"]
    if "crop" in FORM:
        image = cut_out(image, width, height)
    elif FORM["fit"] == "stretch":
        image = image.resize((width, height), FILTER)
    elif FORM["fit"] == "crop":
        image = ImageOps.fit(image, (width, height), FILTER)
    else:
        scale = min(width / image.width, height / image.height)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        borders = Image.new(image.mode, (width, height))
        borders.paste(image.resize(size, FILTER), ((width - size[0]) // 2, (height - size[1]) // 2))
        image = borders
    return np.asarray(image, np.uint8).reshape(height, width, FORM["channels"])


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    given = [Path(each) for each in sys.argv[2:]]
    paths = sorted(path for each in given for path in (each.rglob("*") if each.is_dir() else [each]))
    paths = [path for path in paths if path in given or path.suffix.lower() in SUFFIXES]
    if not paths:
        sys.exit(f"expected images ({', '.join(SUFFIXES)}), found none")
    rows: dict[str, Any] = {COLUMN: np.stack([pixels(path) for path in paths])}
    np.savez(sys.argv[1], **rows)
    print(f"{sys.argv[1]}: {len(paths)} rows", *paths, sep="\n")


main()
