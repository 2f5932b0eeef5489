"""Parts of three real photos as a zip of JPEGs of mixed sizes: which photo is a part of?

The photos come with installed packages: `china` and `flower` with scikit-learn, `grace_hopper` with matplotlib.
Parts for training are cut from the left of each photo, those for validation from the middle and those for the test from
the right, so that no pixel of a test image is in a training image.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import sklearn.datasets
from PIL import Image

CLASSES = ("china", "flower", "grace_hopper")
SIDES = (36, 72)
"""Shortest and longest side of a part."""
SHARES = {"train": (0.0, 0.55), "validation": (0.55, 0.72), "test": (0.72, 1.0)}
"""From where to where each split reaches, as shares of a photo's width."""
COUNTS = {"train": 500, "validation": 40, "test": 150}
"""Images of each class."""
LABELLED = 6
"""Images of each class whose label the student sees."""
_QUALITY = 90


def photos() -> dict[str, Image.Image]:
    """The three photos by their class."""
    with_sklearn = Path(sklearn.datasets.__file__).parent / "images"
    folders = (with_sklearn, with_sklearn, Path(matplotlib.get_data_path()) / "sample_data")
    return {
        name: Image.open(folder / f"{name}.jpg").convert("RGB") for name, folder in zip(CLASSES, folders, strict=True)
    }


def parts(photo: Image.Image, split: str, count: int, random: np.random.Generator) -> Iterator[bytes]:
    """`count` square JPEGs of a split, of mixed sizes."""
    left, right = (int(share * photo.width) for share in SHARES[split])
    for _ in range(count):
        side = int(random.integers(SIDES[0], SIDES[1] + 1))
        x, y = int(random.integers(left, right - side + 1)), int(random.integers(0, photo.height - side + 1))
        file = io.BytesIO()
        photo.crop((x, y, x + side, y + side)).save(file, "JPEG", quality=_QUALITY)
        yield file.getvalue()


def write_photos(path: Path, seed: int = 0) -> None:
    """Write `<split>/<class>/<number>.jpg`, and `metadata.csv` with the column `few`: the class of a few training
    images, empty for the others, and the class of all images that are not trained on.
    """
    random, rows = np.random.default_rng(seed), []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for split, count in COUNTS.items():
            for name, photo in photos().items():
                for i, content in enumerate(parts(photo, split, count, random)):
                    file = f"{split}/{name}/{i:03}.jpg"
                    archive.writestr(file, content)
                    rows.append((file, name if split != "train" or i < LABELLED else ""))
        archive.writestr("metadata.csv", _table(rows))


def _table(rows: Sequence[tuple[str, str]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("file_name", "few"), *rows])
    return file.getvalue()
