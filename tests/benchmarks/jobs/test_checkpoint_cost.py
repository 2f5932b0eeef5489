"""What checkpoints cost of training, at the default interval and at short ones, written beside it, over the one that
every job takes when its training is over.

In time on the clock and in processor time of the whole process: the ratio of two runs of one round, and their median.
"""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.figures import say
from tests.engine.harness import EngineHarness

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]
SECONDS, ROUNDS = 6.0, 9
INTERVALS = {"one, at the end": 3600.0, "every 30 s (the default)": 30.0, "every second": 1.0, "every 0.1 s": 0.1}
TRAINING: dict[str, Any] = {"batch_size": 64, "select_by": "last"}
MODEL = {"family": "mlp", "hidden": [1024, 1024]}


@dataclass(frozen=True)
class _Run:
    wall: float
    processor: float
    checkpoints: int


def _run(harness: EngineHarness, steps: int, interval: float, job: str) -> _Run:
    spec = {"kind": "train", "target": "label", "model": MODEL, "training": TRAINING | {"steps": steps}}
    wall, processor = time.monotonic(), time.process_time()
    harness.run(spec, job, checkpoint_seconds=interval)
    return _Run(time.monotonic() - wall, time.process_time() - processor, len(harness.log.checkpoints))


def test_the_cost_of_checkpoints(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    x = chance.normal(size=(4096, 64)).astype(np.float32)
    signs = (x[:, :2] > 0).astype(np.int64)
    harness = EngineHarness(tmp_path)
    harness.dataset({"x": x, "label": signs[:, 0], "side": signs[:, 1], "size": x[:, 2]})
    _run(harness, 10, 3600.0, "warm")
    steps = int(200 * SECONDS / _run(harness, 200, 3600.0, "probe").processor)
    say(f"Training an mlp 64-1024-1024-3 for {steps} steps, one thread; 13 MB a checkpoint ({ROUNDS} rounds)")
    runs: dict[str, list[_Run]] = {name: [] for name in INTERVALS}
    order, shuffled = list(INTERVALS), random.Random(0)
    for number in range(ROUNDS):
        shuffled.shuffle(order)
        for name in order:
            runs[name].append(_run(harness, steps, INTERVALS[name], f"{name}-{number}"))
    plain = runs.pop("one, at the end")
    print(f"  one checkpoint, at the end: median {median(run.wall for run in plain):.2f} s")
    for name, found in runs.items():
        pairs = list(zip(found, plain, strict=True))
        wall = median(one.wall / other.wall for one, other in pairs) - 1.0
        processor = median(one.processor / other.processor for one, other in pairs) - 1.0
        taken = median(run.checkpoints for run in found)
        print(f"  {name:<26} {taken:.0f} taken, {wall:+.1%} of the time, {processor:+.1%} of processor time")
