"""Series [channels, length] under a one-dimensional convolution: whole jobs, and what is refused for them."""

import json
from typing import Any

import numpy as np
import pytest

from app.contracts.resolving.resolve import Resolution, resolve
from app.contracts.specs.jobs import JOB_SPEC
from tests.engine.harness import DATASET, TEACHER, EngineHarness, report_of

CONVNET: dict[str, Any] = {"family": "convnet", "channels": [6, 8], "pooling": "flatten"}
TRAINING: dict[str, Any] = {"epochs": 12, "batch_size": 32, "learning_rate": 0.01}
TRAIN: dict[str, Any] = {"kind": "train", "model": CONVNET, "training": TRAINING, "exports": ["onnx"]}


def series(harness: EngineHarness, rows: int = 300, **changes: Any) -> EngineHarness:
    """A bump in noise, and in which of three thirds it is."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, rows)
    x = random.normal(size=(rows, 32)).astype(np.float32) * 0.3
    for row, label in enumerate(labels):
        start = label * 10 + random.integers(0, 6)
        x[row, start : start + 4] += 2.0
    target = {"third": {"kind": "class", "classes": 3}}
    inputs = {"x": {"kind": "array", "shape": [1, 32], **changes}}
    harness.dataset({"x": x, "third": labels}, inputs=inputs, targets=target)
    return harness


def test_a_student_over_series_is_trained_distilled_and_exported(harness: EngineHarness) -> None:
    series(harness, standardize=True)
    outcome = harness.run(TRAIN, "teacher")
    teacher = report_of(outcome)
    accuracy = teacher.student.tasks["third"]["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.9
    assert teacher.export["onnx"].max_abs_difference < 1e-4
    harness.teacher(outcome, harness.folder / "teacher" / "attempt-1")
    small = {"family": "convnet", "channels": [4]}
    terms = {"method": "similarity", "teacher_layer": "stages.1", "student_layer": "stages.0"}
    spec = {
        "kind": "distill",
        "teachers": [{"model": TEACHER}],
        "student": small,
        "distillation": {"features": [terms]},
    }
    views = {"transforms": [{"kind": "noise", "std": 0.1}, {"kind": "mixup"}]}
    for training in (TRAINING | {"epochs": 1, "batch_size": 1}, TRAINING | {"epochs": 2, "views": views}):
        report = report_of(harness.run(spec | {"training": training}, f"student-{training['epochs']}"))
        assert report.control is not None
        assert {entry.corruption for entry in report.robustness["third"]} == {"gaussian_noise"}


def found(harness: EngineHarness, spec: dict[str, Any]) -> Resolution:
    assert harness.data is not None
    parsed = JOB_SPEC.validate_json(json.dumps({"dataset": DATASET, **spec}))
    facts = {name: model.facts for name, model in harness.models.items()}
    return resolve(parsed, {DATASET: harness.data.facts}, facts, threads=1)


@pytest.mark.parametrize("kind", ["shift", "flip", "crop", "cutmix", "cutout"])
def test_augmentations_of_images_are_refused(harness: EngineHarness, kind: str) -> None:
    settings = {"cutout": {"size": 2}, "shift": {"pixels": 1}}.get(kind, {})
    views = {"transforms": [{"kind": kind, **settings}]}
    (problem,) = found(series(harness), TRAIN | {"training": {"views": views}}).problems
    assert (problem.pointer, problem.code) == ("/training/views/transforms/0", "view_undefined")


def test_too_many_stages_and_a_series_that_lies_as_an_image_are_refused_with_the_way_out(
    harness: EngineHarness,
) -> None:
    series(harness)
    (problem,) = found(harness, TRAIN | {"model": CONVNET | {"channels": [2] * 6}}).problems
    assert (problem.pointer, problem.code) == ("/model/channels", "too_many_stages")
    assert "at most 5 stages" in problem.detail
    series(harness, shape=[1, 1, 32])
    (problem,) = found(harness, TRAIN).problems
    assert "`shape` [1, 32]" in problem.detail


def test_features_of_maps_tokens_and_vectors_are_refused_on_layers_of_a_series(harness: EngineHarness) -> None:
    series(harness)
    outcome = harness.run(TRAIN | {"training": TRAINING | {"epochs": 1}, "exports": []}, "teacher")
    harness.teacher(outcome, harness.folder / "teacher" / "attempt-1")
    for method in ("fitnets", "attention", "hidden_states"):
        term = {"method": method, "teacher_layer": "stages.0", "student_layer": "stages.0"}
        spec = {"kind": "distill", "teachers": [{"model": TEACHER}], "student": CONVNET}
        problems = found(harness, spec | {"distillation": {"features": [term]}}).problems
        assert "/distillation/features/0/student_layer" in {problem.pointer for problem in problems}
    term = {"method": "fitnets", "teacher_layer": "penultimate", "student_layer": "penultimate"}
    assert not found(harness, spec | {"distillation": {"features": [term]}}).problems
