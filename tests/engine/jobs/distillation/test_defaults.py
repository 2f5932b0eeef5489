"""Jobs that name data, teacher and family alone: what the recipe chose is what was trained, and is in the report."""

from typing import Any

import numpy as np
import torch

from app.contracts.reports.report import Report
from tests.engine.harness import TEACHER, EngineHarness, blobs, made_once, report_of
from tests.engine.jobs.distillation.method_specs import TEACHER_SPEC

SHORT: dict[str, Any] = {"recipe": "best", "epochs": 2}


@made_once
def pictures(harness: EngineHarness) -> None:
    """Images of three classes, and an mlp that was trained on them."""
    arrays = blobs(rows=160, features=576)
    harness.dataset(arrays | {"x": arrays["x"].reshape(-1, 1, 24, 24)})
    harness.teacher(harness.run(TEACHER_SPEC, "teacher"), harness.folder / "teacher" / "attempt-1")


def trained(harness: EngineHarness, name: str, **changes: Any) -> Report:
    """The report of a job of the recipe `best`, two epochs long."""
    student = {"family": "convnet", "channels": [4]}
    teachers = [{"model": TEACHER}]
    spec = {"kind": "distill", "target": "label", "student": student, "teachers": teachers, "training": SHORT}
    return report_of(harness.run(spec | changes, name))


def test_a_job_that_names_nothing_is_trained_as_the_report_says(harness: EngineHarness) -> None:
    pictures(harness)
    report = trained(harness, "best")
    chosen = {pointer: choice.value for pointer, choice in report.chosen.items()}
    assert chosen["/student/pooling"] == "flatten"
    assert chosen["/distillation/soft_targets"] == {"method": "kd", "temperature": 2.0, "weight": 0.5}
    assert chosen["/distillation/supervised/weight"] == 0.5
    assert chosen["/training/views"] == report.spec["training"]["views"]
    assert report.targets[0].passes == 1 + 2, "the teacher runs on the rows as they are, and on those of each epoch"
    assert harness.weights("best")["layers.0.weight"].shape == (3, 4 * 12 * 12), (
        "channels, height and width, halved once"
    )
    terms = [np.array(harness.log.series(f"train/label/{name}"), float) for name in ("kd", "supervised")]
    total = np.array(harness.log.series("train/loss"), float)
    np.testing.assert_allclose(total, 0.5 * terms[0] + 0.5 * terms[1], rtol=1e-4)


def test_views_without_transforms_leave_the_rows_as_they_are(harness: EngineHarness) -> None:
    pictures(harness)
    report = trained(harness, "plain", training=SHORT | {"views": {"transforms": []}})
    assert report.targets[0].passes == 1
    assert "/training/views" not in report.chosen
    assert all(bool(torch.isfinite(value).all()) for value in harness.weights("plain").values())
