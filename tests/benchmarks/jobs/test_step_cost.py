"""What a step of distillation costs beside a step of training the student alone, the teacher's targets being cached.

Beside both the teacher's one pass: what every epoch would cost more if it ran at each step. And what it costs to train
the control before the student, as a teacher's comparison with it needs, instead of both on the same batches.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.accuracy.defaults.sets.images import mnist_mlp
from tests.benchmarks.accuracy.defaults.sets.tabular import digits_scaled
from tests.benchmarks.digits import digits
from tests.benchmarks.figures import line, ratio, say
from tests.engine.harness import TEACHER, EngineHarness, report_of
from tests.engine.jobs.runs.seeded_runs import seeded_runs

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]
EPOCHS, ROUNDS = 3, 7
TEACHERS: dict[str, Any] = {"family": "convnet", "channels": [64, 128], "blocks": 2, "hidden": [256]}
STUDENTS: dict[str, dict[str, Any]] = {
    "mlp 784-16-10": {"family": "mlp", "hidden": [16]},
    "convnet 8-16": {"family": "convnet", "channels": [8, 16]},
}
TRAINING = {"epochs": EPOCHS, "select_by": "last"}


def _seconds(harness: EngineHarness, spec: dict[str, Any], job: str, phase: str) -> float:
    return report_of(harness.run({**spec, "target": "digit"}, job)).seconds[phase]


def test_the_cost_of_a_step_with_cached_targets(tmp_path: Path) -> None:
    harness = digits(tmp_path)
    teacher = {"kind": "train", "model": TEACHERS, "training": {"epochs": 1}, "target": "digit"}
    harness.teacher(harness.run(teacher, "teacher"), tmp_path / "teacher" / "attempt-1")
    say(f"Training on 3500 of 5000 digits, one thread, seconds for an epoch ({ROUNDS} rounds of {EPOCHS})")
    for name, student in STUDENTS.items():
        alone = {"kind": "train", "model": student, "training": TRAINING}
        distilled = {"kind": "distill", "teachers": [{"model": TEACHER}], "student": student, "control": False}
        distilled["training"] = TRAINING
        first = _seconds(harness, distilled, f"{name}-first", "teaching")
        pairs = [
            (
                _seconds(harness, alone, f"{name}-alone-{i}", "training") / EPOCHS,
                _seconds(harness, distilled, f"{name}-distilled-{i}", "training") / EPOCHS,
            )
            for i in range(ROUNDS)
        ]
        by_labels, by_teacher = (list(each) for each in zip(*pairs, strict=True))
        print(f"  {name}")
        one = line("  student alone, an epoch", by_labels)
        two = line("  distilled from cached targets, an epoch", by_teacher)
        ratio("  distilled over alone", two, one)
        if name == next(iter(STUDENTS)):
            print(f"    the teacher's one pass over 5000 rows: {first:.2f} s, in every later job 0 s")


PAIRS = 12
"""Of runs of the same steps, in alternating order."""
CONTROLLED = {"mlp 64-16-10": (digits_scaled, 16), "mlp 784-32-10": (mnist_mlp, 32)}


def test_the_cost_of_training_the_control_before_the_student(tmp_path: Path) -> None:
    say(f"Student and control, 500 steps of 64 rows, one thread, processor time ({PAIRS} pairs)")
    for name, (data, hidden) in CONTROLLED.items():
        made, harness = data(), EngineHarness(tmp_path / name)
        harness.folder.mkdir()
        harness.dataset(made.arrays(0), **made.manifest(None))
        training = {"recipe": "default", "steps": 500, "threads": 1}
        network = {"family": "mlp", "hidden": [hidden]}
        taught = harness.run({"kind": "train", "target": "y", "model": network, "training": training}, "teacher")
        harness.teacher(taught, harness.folder / "teacher" / "attempt-1")
        spec = {"kind": "distill", "target": "y", "teachers": [{"model": TEACHER}], "student": network}
        pairs = list(_with_control(harness, {**spec, "training": training, "repeats": 1}))
        together, apart = (list(each) for each in zip(*pairs, strict=True))
        print(f"  {name}")
        one, two = line("  on the same batches", together), line("  the control, then the student", apart)
        ratio("  apart over together", two, one)


def _with_control(harness: EngineHarness, spec: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """(seconds of one run of both, seconds of a run of each)."""
    for i in range(PAIRS):
        seconds = {}
        for apart in (False, True) if i % 2 else (True, False):
            job = f"{i}-{apart}"
            with seeded_runs(harness, spec, job, cache_dir=str(harness.folder / f"cache-{job}")) as runs:
                both = replace(runs.seeds[0], name="both")
                alone = [run for run in (both.of_control, replace(both, control=False)) if run is not None]
                began = time.process_time()
                for run in alone if apart else [both]:
                    runs.runner.run(run)
                seconds[apart] = time.process_time() - began
        yield seconds[False], seconds[True]
