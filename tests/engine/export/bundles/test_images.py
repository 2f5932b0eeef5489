"""`images.py` of a bundle makes of image files the pixels that the service makes of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import app.models.bundle
from tests.engine.data.formats.images.archives import encoded, noise, pixels_of
from tests.engine.data.formats.images.test_pixels import ORIENTATION, TURNED_RIGHT

PROGRAM = Path(app.models.bundle.__path__[0]) / "program" / "images.py"


def files() -> dict[str, bytes]:
    """Images of many kinds, in no order of their names."""
    image, exif = Image.fromarray(noise(40, 27)), Image.Exif()
    exif[ORIENTATION] = TURNED_RIGHT
    transparent = image.copy()
    transparent.putalpha(9)
    return {
        "turned.jpg": encoded(image, "JPEG", exif=exif),
        "palette.png": encoded(image.quantize(16)),
        "inks.jpeg": encoded(image.convert("CMYK"), "JPEG"),
        "deep.png": encoded(Image.fromarray(np.arange(40 * 27, dtype=np.uint16).reshape(40, 27) * 60)),
        "grey.bmp": encoded(image.convert("L"), "BMP"),
        "transparent.webp": encoded(transparent, "WEBP"),
        "line.png": encoded(np.full((1, 300, 3), 7, np.uint8)),
    }


def program(folder: Path, *arguments: Path, **image: Any) -> subprocess.CompletedProcess[str]:
    shutil.copy(PROGRAM, folder)
    config = {"inputs": {"x": {"columns": ["image"], "raw": {"image": image}}}}
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-I", str(folder / "images.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


FITS: list[dict[str, Any]] = [
    {"fit": "crop"},
    {"fit": "stretch"},
    {"fit": "pad"},
    {"fit": "crop", "filter": "bicubic", "crop": 0.875},
    {"fit": "stretch", "crop": 0.8},
    {"fit": "pad", "filter": "bicubic"},
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", FITS)
def test_its_pixels_are_those_of_the_service(fit: dict[str, Any], channels: int, tmp_path: Path) -> None:
    form = {"size": [9, 12], "channels": channels, **fit}
    (tmp_path / "photos" / "more").mkdir(parents=True)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    for i, (name, content) in enumerate(files().items()):
        (tmp_path / "photos" / ("more" if i % 2 else "") / name).write_bytes(content)
    done = program(tmp_path, tmp_path / "rows.npz", tmp_path / "photos", **form)
    assert done.returncode == 0, done.stderr
    paths = sorted(path for path in (tmp_path / "photos").rglob("*.*") if path.suffix != ".txt")
    assert done.stdout.splitlines()[1:] == [str(path) for path in paths]
    with np.load(tmp_path / "rows.npz") as rows:
        expected = [pixels_of(path.read_bytes(), **{**form, "size": (9, 12)}) for path in paths]
        np.testing.assert_array_equal(rows["image"], np.stack(expected))


def test_no_image_and_several_frames_are_told(tmp_path: Path) -> None:
    form = {"size": [4, 4], "channels": 3, "fit": "crop"}
    (tmp_path / "empty").mkdir()
    done = program(tmp_path, tmp_path / "rows.npz", tmp_path / "empty", **form)
    assert (done.returncode, "found none" in done.stderr) == (1, True)
    frames = [Image.fromarray(noise(seed=i)) for i in range(2)]
    (tmp_path / "two.png").write_bytes(encoded(frames[0], save_all=True, append_images=frames[1:]))
    done = program(tmp_path, tmp_path / "rows.npz", tmp_path / "two.png", **form)
    assert (done.returncode, "several frames" in done.stderr) == (1, True)
    assert not (tmp_path / "rows.npz").exists()
