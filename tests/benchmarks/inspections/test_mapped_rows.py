"""What batches of rows cost that are mapped from a file, beside the same rows in memory."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from app.contracts.resources.manifests import InputTransform
from tests.benchmarks.figures import line, ratio, say
from workers.engine.common.row_store import as_tensor
from workers.engine.data.rows.columns import Column, Rows
from workers.engine.data.rows.inputs import Inputs

pytestmark = pytest.mark.benchmark
ROWS, SHAPE, BATCH, BATCHES, ROUNDS = 100_000, (3, 32, 32), 256, 60, 9


def test_batches_of_mapped_rows_are_gathered_about_as_fast_as_in_memory(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    path = tmp_path / "rows.bin"
    content = np.random.default_rng(0).integers(0, 256, (ROWS, *SHAPE), np.uint8)
    content.tofile(path)
    mapped = as_tensor(np.memmap(path, dtype=np.uint8, mode="r", shape=(ROWS, *SHAPE)))
    transform = InputTransform(scale=1 / 255, mean=0.5, std=0.2)
    sources = {
        "in memory": Inputs(Column(torch.from_numpy(content), cpu), transform),
        "mapped": Inputs(Column(mapped, cpu), transform),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    batches = [Rows.on(cpu, torch.randint(ROWS, (BATCH,), generator=draw)) for _ in range(BATCHES)]
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(ROUNDS):
        for name, source in sources.items():
            begun = time.perf_counter()
            for rows in batches:
                source.take(rows)
            seconds[name].append(time.perf_counter() - begun)
    torch.set_num_threads(threads)
    say(f"{BATCHES} batches of {BATCH} of {ROWS} rows of {list(SHAPE)}, gathered and transformed")
    medians = {name: line(name, times) for name, times in seconds.items()}
    ratio("throughput mapped / in memory", medians["in memory"], medians["mapped"])
