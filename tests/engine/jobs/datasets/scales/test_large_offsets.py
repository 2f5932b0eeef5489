"""Inputs and targets far from zero (timestamps, coordinates): the student is as good as without the offset."""

from typing import Any

import numpy as np
import pytest

from tests.engine.harness import DATASET, OTHER, SECOND, TEACHER, Arrays, EngineHarness, report_of

Json = dict[str, Any]
OFFSET = 1e9
TRAINING: Json = {"epochs": 4, "batch_size": 32, "seed": 1, "learning_rate": 0.01}
MANIFEST: Json = {
    "inputs": {"x": {"kind": "array", "standardize": True}},
    "targets": {
        "size": {"kind": "value"},
        "pair": {"kind": "vector"},
        "by": {"kind": "teacher", "predicts": {"kind": "value"}},
    },
}
NETWORK: Json = {"family": "mlp", "hidden": [16]}


def content(offset: float, seed: int = 0) -> Arrays:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(240, 3)) * 10.0
    size = x @ np.array([1.0, -2.0, 0.5]) + np.abs(x[:, 0])
    pair = np.stack([size, -size + x[:, 1]], axis=1)
    return {"x": x + offset, "size": size + offset, "pair": pair - offset, "by": size + offset}


def put(harness: EngineHarness, offset: float) -> None:
    harness.dataset(content(offset), **MANIFEST)
    harness.another(content(offset, seed=1), **MANIFEST)


def taught(harness: EngineHarness, offset: float, spec: Json) -> float:
    """The student's R² (for a vector its rmse) on the test split."""
    put(harness, offset)
    teaching = {"kind": "train", "target": "size", "model": NETWORK, "training": TRAINING}
    for model, seed in ((TEACHER, 1), (SECOND, 2)) if "teachers" in spec else ():
        name = f"teaching-{model}-{offset:.0f}"
        outcome = harness.run({**teaching, "training": {**TRAINING, "seed": seed}}, name)
        harness.teacher(outcome, harness.folder / name / "attempt-1", model)
    report = report_of(harness.run({"training": TRAINING, **spec}, f"job-{offset:.0f}"))
    assert report.student is not None
    measured = next(iter(report.student.tasks.values()))
    value = measured["r2"] if "r2" in measured else measured["rmse"]
    assert value is not None
    return value


TEACHERS = [{"model": TEACHER}, {"model": SECOND}]
VIEWS = {"seed": 1, "transforms": [{"kind": "noise", "std": 0.05}]}
SPECS: dict[str, Json] = {
    "train": {"kind": "train", "target": "size", "model": NETWORK},
    "vector": {"kind": "train", "target": "pair", "model": NETWORK},
    "distill": {"kind": "distill", "target": "size", "teachers": TEACHERS, "student": NETWORK},
    "views": {
        "kind": "distill",
        "target": "size",
        "teachers": TEACHERS[:1],
        "student": NETWORK,
        "training": {**TRAINING, "views": VIEWS},
    },
    "columns": {"kind": "distill", "target": "size", "teachers": [{"columns": "by"}], "student": NETWORK},
    "datasets": {
        "kind": "train",
        "target": "size",
        "model": NETWORK,
        "datasets": [{"dataset": DATASET}, {"dataset": OTHER}],
    },
}


@pytest.mark.parametrize("name", SPECS)
def test_a_student_is_as_good_with_an_offset_as_without(harness: EngineHarness, name: str) -> None:
    plain, far = (taught(harness, offset, SPECS[name]) for offset in (0.0, OFFSET))
    assert far == pytest.approx(plain, rel=2e-3, abs=2e-3)
    if name != "vector":
        assert plain > 0.8


def test_predictions_keep_the_differences_of_values_far_from_zero(harness: EngineHarness) -> None:
    taught(harness, OFFSET, SPECS["distill"])
    with np.load(harness.outputs(f"job-{OFFSET:.0f}") / "predictions-test.npz") as found:
        columns = {name.rpartition("/")[2]: found[name] for name in found.files if "/size/" in name}
    label = columns.pop("label")
    assert label.dtype == np.float64
    for party in ("teacher", "student", "control"):
        assert columns[party].dtype == np.float64
        assert len(np.unique(columns[party])) > len(label) // 2, party
        assert np.corrcoef(columns[party].reshape(-1), label)[0, 1] > 0.9
