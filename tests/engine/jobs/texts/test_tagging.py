"""Tagging: students that answer for each token, learn it from labels and teachers, and ignore padding."""

from typing import Any

import pytest

from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import TEACHER, EngineHarness, report_of
from tests.engine.jobs.texts.tags import BERT, TRAINING, with_tags

TRAIN: dict[str, Any] = {"kind": "train", "model": BERT, "training": TRAINING}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return with_tags(tmp_path_factory.mktemp("tags"))


@pytest.fixture(scope="module")
def trained(harness: EngineHarness) -> TrainingOutcome:
    outcome = harness.run({**TRAIN, "exports": ["onnx"]}, job="trained")
    harness.teacher(outcome, harness.folder / "trained" / "attempt-1", model=TEACHER)
    return outcome


def test_a_student_learns_a_rule_of_tokens(trained: TrainingOutcome) -> None:
    tasks = report_of(trained).student.tasks["tag"]
    assert (tasks["accuracy"] or 0.0) > 0.95
    assert trained.student.export_refused is None


def test_a_student_is_distilled_token_by_token(harness: EngineHarness, trained: TrainingOutcome) -> None:
    spec = {"kind": "distill", "teachers": [{"model": TEACHER}], "student": BERT, "training": TRAINING}
    report = report_of(harness.run(spec, job="distilled"))
    assert (report.student.tasks["tag"]["accuracy"] or 0.0) > 0.95
    assert (report.fidelity["tag"].agreement or 0.0) > 0.95
