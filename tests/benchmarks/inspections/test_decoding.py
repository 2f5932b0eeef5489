"""What reading an archive of JPEGs costs beside Pillow alone on as many threads: open, decode, resize."""

import io
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.contracts.resources.inputs.images import ImageInput
from tests.benchmarks.figures import line, ratio, say
from tests.engine.data.formats.images.archives import encoded, manifest, zipped
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.formats.images.pixels import image_rows
from workers.engine.data.formats.read import read_columns
from workers.engine.data.reading import read_dataset

pytestmark = pytest.mark.benchmark
ROWS, SIDE, SIZE, ROUNDS = 3000, 224, 64, 5


def photo(seed: int, side: int = SIDE) -> Image.Image:
    """Smooth colours with some noise, as large when encoded as a photo is."""
    draw = np.random.default_rng(seed)
    colours = Image.fromarray(draw.integers(0, 256, (9, 9, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    return Image.fromarray(np.clip(np.asarray(colours) + draw.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8))


def _by_pillow(path: Path) -> None:
    """The same rows without checks, order, labels or a store."""
    with zipfile.ZipFile(path) as archive:
        contents = [archive.read(name) for name in archive.namelist()]
    rows = np.empty((len(contents), SIZE, SIZE, 3), np.uint8)

    def decode(i: int) -> None:
        image = Image.open(io.BytesIO(contents[i])).convert("RGB")
        rows[i] = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(decode, range(len(contents)), chunksize=8))


def test_an_archive_is_read_about_as_fast_as_pillow_decodes_it(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    few = [encoded(photo(seed), "JPEG", quality=90) for seed in range(32)]
    path = zipped(tmp_path / "a.zip", {f"{('cat', 'dog')[i % 2]}/{i:05}.jpg": few[i % 32] for i in range(ROWS)})
    image = ImageInput(kind="image", size=(SIZE, SIZE))
    described = manifest(inputs={"image": image})
    places = iter(range(100))

    def decode() -> None:
        images = read_columns(path, "images", {"image"}).encoded["image"]
        folder = tmp_path / str(next(places))
        image_rows("image", images, image, RowStorage("0" * 64, folder, folder, 1 << 40), "images")

    def stored() -> None:
        folder = tmp_path / str(next(places))
        read_dataset(path, described, storage=RowStorage("0" * 64, folder, folder, 1 << 40))

    again = tmp_path / "again"

    def mapped() -> None:
        read_dataset(path, described, storage=RowStorage("0" * 64, again, again, 1 << 40))

    mapped()
    ways: dict[str, Callable[[], None]] = {
        "Pillow alone": lambda: _by_pillow(path),
        "decoded and stored": decode,
        "first read of the dataset": stored,
        "later reads": mapped,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    say(f"{ROWS} JPEGs of {SIDE} x {SIDE}, {sum(map(len, few)) // 32} bytes each, to {SIZE} x {SIZE}, two threads")
    pillow, *others = (line(name, each) for name, each in seconds.items())
    for name, each in zip(list(ways)[1:], others, strict=True):
        ratio(f"{name}: rate, relative to Pillow", pillow, each)
