"""What columns and class numbers mean is kept over joined datasets, and from a teacher to the data it teaches on."""

from typing import Any

import numpy as np
import pytest

from app.contracts.resources.manifests import InputTransform
from tests.engine.harness import DATASET, OTHER, TEACHER, Arrays, EngineHarness, report_of
from workers.engine.data.joining import read_datasets

TRAINING: dict[str, Any] = {"epochs": 15, "batch_size": 32, "learning_rate": 0.02}
BOTH: dict[str, Any] = {"datasets": [{"dataset": DATASET}, {"dataset": OTHER}]}
TRAIN: dict[str, Any] = {"kind": "train", "model": {"family": "mlp", "hidden": [8]}, "training": TRAINING}


def columns(rows: int = 300, seed: int = 0) -> Arrays:
    """Columns a and b, and a class that follows from a."""
    a, b = np.random.default_rng(seed).normal(size=(2, rows))
    return {"a": a, "b": b, "y": (a > 0).astype(np.int64)}


def reading(*names: str, classes: Any = 2) -> dict[str, Any]:
    return {
        "inputs": {"x": {"kind": "array", "columns": list(names)}},
        "targets": {"y": {"kind": "class", "classes": classes}},
    }


def test_class_numbers_are_read_as_the_names_that_they_are(harness: EngineHarness) -> None:
    """Trap: the number 1 was the second name, `0`."""
    first = columns()
    harness.dataset({**first, "y": first["y"].astype(str)}, **reading("a", "b", classes=["1", "0"]))
    harness.another(columns(seed=1), **reading("a", "b"))
    outcome = harness.run({**TRAIN, **BOTH})
    report = report_of(outcome)
    assert (report.student.tasks["y"]["accuracy"] or 0.0) > 0.95
    assert outcome.student.outputs["y"].spec.model_dump()["classes"] == ("1", "0")
    assert "classes_matched_by_name" in {warning["code"] for warning in report.warnings}


def test_missing_labels_of_numbered_classes_stay_missing(harness: EngineHarness) -> None:
    first, second = columns(), columns(seed=1)
    second["y"][:50] = -1
    harness.dataset({**first, "y": first["y"].astype(str)}, **reading("a", "b", classes=["1", "0"]))
    harness.another(second, **reading("a", "b"))
    order = harness.order({**TRAIN, **BOTH})
    target = read_datasets(order, order.spec.dataset_refs()).targets["y"]  # type: ignore[union-attr]
    assert not target.labelled[300:350].any()
    assert (target.values[300:350] == -1).all()
    assert target.values[350:].tolist() == (1 - second["y"][50:]).tolist()


@pytest.mark.parametrize("spec", [TRAIN, {**TRAIN, **BOTH}], ids=["one dataset", "joined"])
def test_a_student_keeps_its_columns_and_does_not_teach_on_them_in_another_order(
    harness: EngineHarness, spec: dict[str, Any]
) -> None:
    harness.dataset(columns(), **reading("a", "b"))
    harness.another(columns(seed=1), **reading("a", "b"))
    outcome = harness.run(spec, "teaching")
    model = harness.teacher(outcome, harness.folder / "teaching" / "attempt-1")
    assert model.facts is not None
    for inputs in (model.facts.inputs, model.manifest.inputs):
        assert inputs["x"].columns == ("a", "b")
    distill = {
        "kind": "distill",
        "teachers": [{"model": TEACHER}],
        "student": TRAIN["model"],
        "training": {**TRAINING, "epochs": 1},
    }
    report_of(harness.run(distill, "same"))
    harness.dataset(columns(), **reading("b", "a"))
    with pytest.raises(AssertionError, match="column_order_differs"):
        harness.order(distill, "other")


def test_columns_of_images_are_those_of_the_numbers_after_the_layout(harness: EngineHarness) -> None:
    """Channels last in the file, in front in the rows: the columns move with the numbers."""
    pixels = {f"p{i}": np.arange(60.0) + i for i in range(8)}
    labels = {"y": np.arange(60) % 2}
    field = {"kind": "array", "columns": list(pixels), "shape": [2, 2, 2], "layout": "channels_last"}
    found = harness.dataset({**pixels, **labels}, inputs={"x": field}, targets=reading()["targets"])
    assert found.facts is not None
    assert found.facts.inputs["x"].columns == ("p0", "p2", "p4", "p6", "p1", "p3", "p5", "p7")


def test_columns_with_several_numbers_are_not_known(harness: EngineHarness) -> None:
    wide = {"x": np.random.default_rng(0).normal(size=(60, 3)), "y": np.arange(60) % 2}
    found = harness.dataset(wide, inputs={"x": {"kind": "array"}}, targets=reading()["targets"])
    assert found.facts is not None
    assert found.facts.inputs["x"].columns is None
    assert "columns" not in InputTransform().model_dump()
