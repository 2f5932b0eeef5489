"""What cached targets save: an epoch with the teacher at every step, with its stored targets, and of the student alone.

CNNs of about 482 thousand parameters -> a CNN of 6.4 thousand, batches of 64, one thread. What is saved goes by the
teacher's multiply-adds, not by its parameters: one convolution a stage, or two.
"""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.benchmarks.digits import digits
from tests.benchmarks.figures import line, ratio, say
from tests.engine.harness import TEACHER, report_of
from workers.engine.models import build

pytestmark = pytest.mark.benchmark
EPOCHS, ROUNDS = 2, 3
LARGE: dict[str, Any] = {"family": "convnet", "channels": [32, 64], "pooling": "flatten"}
TEACHERS: dict[str, dict[str, Any]] = {
    "one convolution a stage": {**LARGE, "hidden": [146]},
    "two convolutions a stage": {**LARGE, "hidden": [132], "blocks": 2},
}
SMALL: dict[str, Any] = {"family": "convnet", "channels": [4, 12], "pooling": "flatten"}
TRAINING = {"epochs": EPOCHS, "select_by": "last", "batch_size": 64}


@pytest.mark.parametrize("name", TEACHERS)
def test_the_cost_of_a_teacher_at_every_step(tmp_path: Path, name: str) -> None:
    torch.set_num_threads(1)
    harness = digits(tmp_path)
    teaching = {"kind": "train", "target": "digit", "model": TEACHERS[name], "training": {"epochs": 1}}
    teacher = harness.teacher(harness.run(teaching, "teacher"), tmp_path / "teacher" / "attempt-1")
    alone = {"kind": "train", "target": "digit", "model": SMALL, "training": TRAINING}
    distilled = {
        "kind": "distill",
        "target": "digit",
        "teachers": [{"model": TEACHER}],
        "student": SMALL,
        "control": False,
        "training": TRAINING,
    }
    student = report_of(harness.run(distilled, "warm")).student.parameters
    assert teacher.facts is not None
    assert teacher.facts.architecture is not None
    network = build(teacher.facts.architecture).eval()
    x = torch.rand(64, 1, 28, 28)

    def passes() -> float:
        """Seconds of the teacher's passes over an epoch's batches: what a live teacher adds to the student's steps."""
        began = time.perf_counter()
        with torch.no_grad():
            for _ in range(-(-3500 // 64)):
                network(x)
        return time.perf_counter() - began

    rows = []
    for i in range(ROUNDS):
        by_labels = report_of(harness.run(alone, f"alone-{i}")).seconds["training"] / EPOCHS
        by_targets = report_of(harness.run(distilled, f"distilled-{i}")).seconds["training"] / EPOCHS
        rows.append((by_labels, by_targets, by_targets + passes()))
    one, two, three = (list(each) for each in zip(*rows, strict=True))
    say(f"Teacher: {name}, {teacher.facts.parameters:,} parameters; student: {student:,}; one thread, 3500 digits")
    student_alone = line("the student alone, an epoch", one)
    cached = line("with cached targets, an epoch", two)
    live = line("with the teacher at every step, an epoch", three)
    ratio("cached over the student alone", cached, student_alone)
    ratio("teacher at every step over cached", live, cached)
