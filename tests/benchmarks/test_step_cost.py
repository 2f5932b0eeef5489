"""What a step of distillation costs beside a step of training the student alone, the teacher's targets being cached.

Beside both the teacher's one pass: what every epoch would cost more if it ran at each step.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.digits import digits
from tests.benchmarks.figures import line, ratio, say
from tests.engine.harness import TEACHER, EngineHarness, report_of

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
