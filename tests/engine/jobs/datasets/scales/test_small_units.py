"""Metres, farads and mol/l: a student is as good as in units of about 1, and teaches as it was trained."""

from typing import Any

import numpy as np
import pytest

from app.contracts.reports.report import Report
from tests.engine.harness import TEACHER, EngineHarness, report_of
from tests.exhaustive import sample

ROWS = 600
STUDENT: dict[str, Any] = {"family": "mlp", "hidden": [16]}
TRAINING: dict[str, Any] = {"epochs": 15, "learning_rate": 0.01}
INPUT: dict[str, Any] = {"x": {"kind": "array", "standardize": True}}


def trained(harness: EngineHarness, kind: str, unit: float) -> Report:
    """A student of rows and labels in this unit, which learns from columns in it too."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 4))
    truth = x[:, :1] + x[:, 1:2] if kind == "value" else x[:, :3] + 0.5
    y, told = (truth + 0.1 * draw.normal(size=truth.shape) for _ in range(2))
    y = y[:, 0] if kind == "value" else y
    targets = {"y": {"kind": kind}, "told": {"kind": "teacher", "predicts": {"kind": kind}}}
    harness.dataset({"x": x * unit, "y": y * unit, "told": told * unit}, inputs=INPUT, targets=targets)
    job = {"kind": "distill", "target": "y", "teachers": [{"columns": "told"}], "student": STUDENT}
    outcome = harness.run({**job, "training": TRAINING}, f"job-{unit}")
    assert "teacher_mismatch" not in harness.log.warnings
    harness.teacher(outcome, harness.folder / f"job-{unit}" / "attempt-1")
    return report_of(outcome)


@pytest.mark.parametrize(
    ("kind", "unit"),
    sample(
        [(kind, unit) for kind in ("value", "vector") for unit in (1e-6, 1e-9, 1e-20)],
        [("value", 1e-6), ("value", 1e-20), ("vector", 1e-9)],
    ),
)
def test_a_student_is_as_good_in_small_units(harness: EngineHarness, kind: str, unit: float) -> None:
    usual, small = (trained(harness, kind, each) for each in (1.0, unit))
    for party in ("student", "control"):
        a, b = (getattr(report, party).tasks["y"] for report in (usual, small))
        assert b["rmse"] / unit == pytest.approx(a["rmse"], rel=0.05)
        other = "r2" if kind == "value" else "cosine"
        assert b[other] == pytest.approx(a[other], abs=0.02)
    again = {"kind": "distill", "target": "y", "teachers": [{"model": TEACHER}], "student": STUDENT}
    taught = report_of(harness.run({**again, "training": TRAINING}, "again"))
    assert taught.teachers[0].tasks["y"]["rmse"] == pytest.approx(small.student.tasks["y"]["rmse"], rel=1e-3)
