"""What three students and three controls cost as vectorised steps, beside one student and its control alone."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.digits import digits
from tests.benchmarks.figures import line, ratio, say
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.runs.seeded_runs import SeededRuns, seeded_runs

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
STEPS = 500
ROUNDS = 3


def test_the_cost_of_three_pairs_of_an_mlp_on_784_inputs(tmp_path: Path) -> None:
    _measured(digits(tmp_path, (784,)), [32], "784-32-10, 3500 digits")


def test_the_cost_of_three_pairs_of_an_mlp_on_64_inputs(tmp_path: Path) -> None:
    harness, random = EngineHarness(tmp_path), np.random.default_rng(0)
    labels = random.integers(0, 10, 1797)
    x = (random.normal(size=(10, 64))[labels] + random.normal(size=(1797, 64))).astype(np.float32)
    harness.dataset({"x": x, "digit": labels}, targets={"digit": {"kind": "class", "classes": 10}})
    _measured(harness, [16], "64-16-10, 1797 rows")


def _measured(harness: EngineHarness, hidden: list[int], name: str) -> None:
    model = {"family": "mlp", "hidden": [64]}
    teacher = {"kind": "train", "target": "digit", "model": model, "training": {"epochs": 2}}
    harness.teacher(harness.run(teacher, "teacher"), harness.folder / "teacher" / "attempt-1")
    spec: dict[str, Any] = {
        "kind": "distill",
        "target": "digit",
        "teachers": [{"model": TEACHER}],
        "student": {"family": "mlp", "hidden": hidden},
        "training": {"steps": STEPS, "batch_size": 64, "schedule": "cosine", "weight_decay": 0.1, "clip_norm": 1.0},
        "repeats": 3,
    }
    pairs, populations = [], []
    for i in range(ROUNDS):
        with seeded_runs(harness, spec, f"job-{i}", cache_dir=str(harness.folder / f"cache-{i}")) as runs:
            pairs.append(_seconds(partial(runs.runner.run, replace(runs.seeds[0], name="pair"))))
            populations.append(_seconds(partial(_three_pairs, runs)))
    say(f"Three students and three controls of an mlp {name}, batch 64, {STEPS} steps, one thread: CPU seconds")
    three = line("3 students, then 3 controls, as one step", populations)
    ratio("3 pairs over 1 pair", three, line("1 student and its control", pairs))


def _three_pairs(runs: SeededRuns) -> None:
    assert runs.runner.run_population("students", runs.students) is not None
    assert runs.runner.run_population("controls", runs.controls) is not None


def _seconds(call: Callable[[], object]) -> float:
    """CPU seconds, which other processes lengthen less than the time on the clock."""
    began = time.process_time()
    call()
    return time.process_time() - began
