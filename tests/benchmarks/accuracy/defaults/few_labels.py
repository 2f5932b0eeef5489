"""Distillation where a tenth of the rows is labelled: a teacher that knows all labels, defaults for everything else."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.accuracy.defaults.sets.data_set import DataSet, Json, without_labels
from tests.benchmarks.accuracy.defaults.sets.images import two_digit_numbers
from tests.benchmarks.accuracy.defaults.sets.tabular import digits_scaled
from tests.engine.harness import TEACHER, EngineHarness, report_of

LABELLED = 0.1
SEEDS = range(5)
PARTIES = ("teacher", "student", "control")


@dataclass(frozen=True)
class FewLabels:
    """A data set and its teacher's network."""

    data: DataSet
    teacher: Json


def cases() -> Mapping[str, FewLabels]:
    """Those that are measured, by name."""
    return {
        "few-digits": FewLabels(digits_scaled(), {"family": "mlp", "hidden": [64]}),
        "few-100": FewLabels(two_digit_numbers(), {"family": "mlp", "hidden": [128]}),
    }


def measure(case: FewLabels, seed: int) -> dict[str, float]:
    """Accuracy on the test rows of `teacher`, `student` and `control` (the student without teacher)."""
    data, training = case.data, {"recipe": "default", "seed": seed, "threads": 1}
    arrays, manifest = data.arrays(seed), data.manifest(None)
    with tempfile.TemporaryDirectory() as folder:
        harness = EngineHarness(Path(folder))
        harness.dataset(arrays, **manifest)
        taught = harness.run({"kind": "train", "target": "y", "model": case.teacher, "training": training}, "teacher")
        harness.teacher(taught, harness.folder / "teacher" / "attempt-1")
        harness.dataset(without_labels(arrays, "y", LABELLED), **manifest)
        spec = {"target": "y", "teachers": [{"model": TEACHER}], "student": data.student, "training": training}
        report = report_of(harness.run({"kind": "distill", "repeats": 1, **spec}))
    parties = {"teacher": report_of(taught).student, "student": report.student, "control": report.control}
    return {name: (party.tasks["y"]["accuracy"] if party else None) or 0.0 for name, party in parties.items()}
