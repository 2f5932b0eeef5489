"""Distillation and multi-task training in one: a teacher for each task of one student."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.harness import SECOND, TEACHER, EngineHarness, StopAtStep, blobs, made_once, report_of
from tests.exhaustive import sample
from workers.engine.common.stop import Stopped

Json = dict[str, Any]
LAYERS: Json = {"teacher_layer": "penultimate", "student_layer": "penultimate"}
ADAPTER: Json = {"method": "fitnets", "normalize": True, "weight": 1.0, **LAYERS}


@made_once
def add_teachers(harness: EngineHarness) -> None:
    """Two thirds of the labels of both tasks are missing; each task has a teacher that saw all of them."""
    harness.dataset()
    for model, target in ((TEACHER, "label"), (SECOND, "side")):
        spec = {"kind": "train", "target": target, "model": {"family": "mlp", "hidden": [32, 24]}}
        training = {"epochs": 12, "batch_size": 32, "learning_rate": 0.01}
        outcome = harness.run({**spec, "training": training}, f"{target}-teacher")
        harness.teacher(outcome, harness.folder / f"{target}-teacher" / "attempt-1", model)
    arrays = blobs()
    hidden = np.random.default_rng(0).random((2, len(arrays["label"]))) < 2 / 3
    for missing, name in zip(hidden, ("label", "side"), strict=True):
        arrays[name] = np.where(missing, -1, arrays[name])
    harness.dataset(arrays)


@pytest.fixture
def harness(tmp_path: Path) -> EngineHarness:
    return add_teachers(EngineHarness(tmp_path))


def job(distillation: Json, **changes: Any) -> Json:
    tasks = [
        {"name": name, "teachers": [{"model": model}], "distillation": distillation}
        for name, model in (("label", TEACHER), ("side", SECOND))
    ]
    return {
        "kind": "multitask",
        "tasks": tasks,
        "student": {"family": "mlp", "hidden": [8]},
        "training": {"epochs": 4, "batch_size": 32, "learning_rate": 0.01, "select_by": "last"},
        "control": False,
        **changes,
    }


METHODS: dict[str, Json] = {
    "soft targets": {"soft_targets": {"method": "kd"}},
    "adapters": {"soft_targets": {"method": "kd"}, "features": ADAPTER},
    "annealed": {"soft_targets": {"method": "kd"}, "anneal": "linear"},
}


@pytest.mark.parametrize(
    ("name", "balancing"),
    sample(
        [(name, balancing) for name in METHODS for balancing in ("fixed", "pcgrad", "famo")],
        [("soft targets", "fixed"), ("adapters", "pcgrad"), ("adapters", "famo"), ("annealed", "pcgrad")],
    ),
)
def test_a_combination_that_was_interrupted_gives_the_student_of_one_that_was_not(
    harness: EngineHarness, name: str, balancing: str
) -> None:
    spec = job(METHODS[name], balancing={"method": balancing})
    harness.run(spec, "whole")
    with pytest.raises(Stopped):
        harness.run(spec, "broken", stop=StopAtStep(13))
    harness.run(spec, "broken", attempt=2)
    assert harness.digest("broken", attempt=2) == harness.digest("whole")


def test_each_task_has_an_adapter_of_its_own_which_is_not_exported(harness: EngineHarness) -> None:
    harness.run(job(METHODS["adapters"]), "with")
    series = {name: harness.log.series(f"train/{name}/fitnets") for name in ("label", "side")}
    for values in series.values():
        numbers = [value for value in values if value is not None]
        assert 0.0 < numbers[-1] < numbers[0] <= 4.0, "unit vectors are at most 2 apart"
    harness.run(job(METHODS["soft targets"]), "without")
    assert harness.weights("with").keys() == harness.weights("without").keys()


def test_teachers_fill_the_labels_that_are_missing(harness: EngineHarness) -> None:
    """As many steps and the same rows: with teachers the student is no worse on either task, and better on one."""
    plain = [{"name": "label"}, {"name": "side"}]
    training = {"epochs": 12, "batch_size": 32, "learning_rate": 0.01, "select_by": "last"}
    few = report_of(harness.run(job({}, tasks=plain, training=training), "labels alone")).student.tasks
    filled = report_of(harness.run(job(METHODS["soft targets"], training=training), "filled")).student.tasks
    gains = [(filled[name]["nll"] or 0.0) - (few[name]["nll"] or 0.0) for name in ("label", "side")]
    assert min(gains) < 0.0
    assert max(gains) < 0.05


def test_rows_without_any_label_move_the_student_through_its_teachers(harness: EngineHarness) -> None:
    """The gradient of such rows is that of the soft targets alone."""
    arrays = blobs()
    none = {name: np.full(len(arrays[name]), -1) for name in ("label", "side")}
    harness.dataset({**arrays, **none})
    harness.run(job(METHODS["soft targets"]), "unlabelled")
    start = harness.weights("unlabelled")["layers.0.weight"]
    harness.run(job(METHODS["soft targets"], training={"steps": 1, "select_by": "last"}), "one step")
    assert not torch.equal(start, harness.weights("one step")["layers.0.weight"])
