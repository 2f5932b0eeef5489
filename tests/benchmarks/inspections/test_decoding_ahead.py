"""Batches of images that stay encoded, decoded ahead, beside Pillow alone on as many threads."""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image

from tests.benchmarks.figures import line, ratio, say
from tests.benchmarks.inspections.test_decoding import photo
from tests.engine.data.formats.images.archives import encoded, manifest, zipped
from workers.engine.common.row_storage import RowStorage
from workers.engine.data.formats.files.encoded import EncodedRows
from workers.engine.data.formats.images import pixels as rule
from workers.engine.data.reading import read_dataset

pytestmark = pytest.mark.benchmark
BATCH, ROUNDS, THREADS = 128, 7, 2


@pytest.mark.parametrize(("side", "size", "rows"), [(224, 64, 2048), (32, 32, 8192)])
def test_rows_are_decoded_ahead_about_as_fast_as_pillow_decodes_them(
    side: int, size: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "DECODED_BYTES", 0)
    monkeypatch.setattr(rule, "TIMES", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    few = [encoded(photo(seed, side), "JPEG", quality=90) for seed in range(64)]
    path = zipped(tmp_path / "a.zip", {f"{('cat', 'dog')[i % 2]}/{i:05}.jpg": few[i % 64] for i in range(rows)})
    image = {"kind": "image", "size": (size, size), "standardize": False}
    storage = RowStorage("0" * 64, tmp_path, tmp_path, 1 << 40, encoded=True)
    raw = read_dataset(path, manifest(inputs={"image": image}), storage=storage).raw
    assert isinstance(raw, EncodedRows)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    parts = list(torch.split(order, BATCH))

    def ahead() -> None:
        with closing(raw.ahead(parts)) as decoded:
            assert sum(len(block) for _, block in decoded) == rows

    def pillow() -> None:
        found = np.empty((rows, size, size, 3), np.uint8)

        def decode(i: int) -> None:
            opened = Image.open(io.BytesIO(few[i % 64])).convert("RGB")
            found[i] = np.asarray(opened.resize((size, size), Image.Resampling.BILINEAR))

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(decode, range(rows), chunksize=8))

    ways: dict[str, Callable[[], None]] = {"Pillow alone": pillow, "decoded ahead": ahead}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            begun, used = time.perf_counter(), time.process_time()
            way()
            seconds[name].append(time.perf_counter() - begun)
            processor[name].append(time.process_time() - used)
    torch.set_num_threads(before)
    say(
        f"{rows} JPEGs of {side} x {side}, {sum(map(len, few)) // 64} bytes each, to {size} x {size}, {THREADS} threads"
    )
    alone, own = (line(name, each) for name, each in seconds.items())
    print(f"  Pillow alone: {rows / alone:.0f} rows a second; decoded ahead: {rows / own:.0f}")
    ratio("rate decoded ahead / Pillow alone", alone, own)
    ratio("the same, of processor time", *(median(each) for each in processor.values()))
