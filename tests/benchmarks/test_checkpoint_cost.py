"""What checkpoints cost of training, at the default interval and at short ones, written beside it.

In processor time of the whole process, which other processes of the machine leave alone.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.figures import line, say
from tests.engine.workshop import Workshop

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]
SECONDS, ROUNDS = 8.0, 3
INTERVALS = {"no checkpoint": 3600.0, "every 30 s (the default)": 30.0, "every second": 1.0, "every 0.1 s": 0.1}
TRAINING: dict[str, Any] = {"batch_size": 64, "select_by": "last"}
MODEL = {"family": "mlp", "hidden": [1024, 1024]}


def _run(workshop: Workshop, steps: int, interval: float, job: str) -> tuple[float, int]:
    """(processor seconds, checkpoints)."""
    spec = {"kind": "train", "target": "label", "model": MODEL, "training": TRAINING | {"steps": steps}}
    began = time.process_time()
    workshop.run(spec, job, checkpoint_seconds=interval)
    return time.process_time() - began, len(workshop.diary.checkpoints)


def test_the_cost_of_checkpoints(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(4096, 64)).astype(np.float32)
    signs = (x[:, :2] > 0).astype(np.int64)
    workshop = Workshop(tmp_path)
    workshop.dataset({"x": x, "label": signs[:, 0], "side": signs[:, 1], "size": x[:, 2]})
    _run(workshop, 10, 3600.0, "warm")
    steps = int(200 * SECONDS / _run(workshop, 200, 3600.0, "probe")[0])
    say(f"Training an mlp 64-1024-1024-3 for {steps} steps, one thread; 13 MB a checkpoint ({ROUNDS} rounds)")
    took: dict[str, list[float]] = {name: [] for name in INTERVALS}
    taken: dict[str, int] = {}
    for number in range(ROUNDS):
        for name, interval in INTERVALS.items():
            seconds, taken[name] = _run(workshop, steps, interval, f"{name}-{number}")
            took[name].append(seconds)
    plain = line("no checkpoint", took["no checkpoint"])
    for name in list(INTERVALS)[1:]:
        median = line(f"{name}, {taken[name]} taken", took[name])
        print(f"  {'':<40} {100.0 * (median / plain - 1.0):+.1f} % of processor time")
