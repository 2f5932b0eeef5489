"""What the networks of `repeats: "auto"` cost as vectorised steps, beside one student and its control alone."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contracts.specs.jobs import FIRST_SEEDS, MOST_SEEDS
from tests.benchmarks.digits import digits
from tests.benchmarks.figures import line, ratio, say
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.runs.seeded_runs import SeededRuns, seeded_runs
from workers.engine.jobs.runs.affordable import MOST_CONTROLS

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
        "repeats": MOST_CONTROLS,
    }
    pairs, first, most = [], [], []
    for i in range(ROUNDS):
        with seeded_runs(harness, spec, f"job-{i}", cache_dir=str(harness.folder / f"cache-{i}")) as runs:
            pairs.append(_seconds(partial(runs.runner.run, replace(runs.seeds[0], name="pair"))))
            first.append(_seconds(partial(_trained, runs, FIRST_SEEDS, FIRST_SEEDS)))
            most.append(_seconds(partial(_trained, runs, MOST_SEEDS, MOST_CONTROLS)))
    say(f"Students and controls of an mlp {name}, batch 64, {STEPS} steps, one thread: CPU seconds")
    pair = line("1 student and its control", pairs)
    counts = ((first, FIRST_SEEDS, FIRST_SEEDS), (most, MOST_SEEDS, MOST_CONTROLS))
    for seconds, students, controls in counts:
        found = line(f"{students} students, then {controls} controls, as one step each", seconds)
        ratio(f"{students} and {controls} over 1 pair", found, pair)


def _trained(runs: SeededRuns, students: int, controls: int) -> None:
    for name, group, count in (("students", runs.students, students), ("controls", runs.controls, controls)):
        assert runs.runner.run_population(f"{name}-{count}", group[:count]) is not None


def _seconds(call: Callable[[], object]) -> float:
    """CPU seconds, which other processes lengthen less than the time on the clock."""
    began = time.process_time()
    call()
    return time.process_time() - began
