"""Row weights in whole jobs: equal for student, control and baseline, and part of what caches go by."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.harness import DATASET, OTHER, TEACHER, EngineHarness, blobs, report_of

PLAIN: dict[str, Any] = {"epochs": 2, "batch_size": 32, "learning_rate": 0.02, "select_by": "last"}
STUDENT: dict[str, Any] = {"family": "mlp", "hidden": [8]}
TRAIN: dict[str, Any] = {"kind": "train", "target": "label", "model": STUDENT}
MANIFEST: dict[str, Any] = {"weights": {"w": {}, "v": {}}}
KD: dict[str, Any] = {"method": "kd", "temperature": 2.0, "weight": 0.5}


def arrays() -> dict[str, Any]:
    """The usual rows with weights of two names."""
    random = np.random.default_rng(5)
    return {**blobs(), "w": random.exponential(size=240), "v": random.integers(0, 3, 240).astype(float)}


@pytest.fixture
def weighted(harness: EngineHarness) -> EngineHarness:
    harness.dataset(arrays(), **MANIFEST)
    return harness


@pytest.fixture
def taught(weighted: EngineHarness) -> EngineHarness:
    weighted.teacher(
        weighted.run({**TRAIN, "training": {**PLAIN, "epochs": 10}}, "teacher"), weighted.folder / "teacher/attempt-1"
    )
    return weighted


def distilled(training: dict[str, Any] | None = None, **term: Any) -> dict[str, Any]:
    return {
        "kind": "distill",
        "target": "label",
        "teachers": [{"model": TEACHER}],
        "student": STUDENT,
        "distillation": {"soft_targets": {**KD, **term}, "supervised": {"weight": 0.5}},
        "training": {**PLAIN, **(training or {})},
    }


def test_a_control_has_the_students_weights_and_another_entry_in_the_cache(taught: EngineHarness) -> None:
    """It is the model of a train job with the same weights, bit by bit."""
    for name, training in (("w", {"row_weights": "w"}), ("v", {"row_weights": "v"}), ("plain", {})):
        report = report_of(taught.run(distilled(training), name))
        assert report.control is not None
        assert not report.control.cached
        taught.run({**TRAIN, "training": {**PLAIN, **training}}, f"alone-{name}")
        control, alone = taught.weights(name, role="control"), taught.weights(f"alone-{name}")
        assert all(control[key].equal(alone[key]) for key in control)
    again = report_of(taught.run(distilled({"row_weights": "w"}), "again"))
    assert again.control is not None
    assert again.control.cached
    assert len({taught.digest(name, role="control") for name in ("w", "v", "plain")}) == 3


def test_weights_of_a_soft_target_change_the_student_alone(taught: EngineHarness) -> None:
    report = report_of(taught.run(distilled(), "plain"))
    other = report_of(taught.run(distilled(row_weights="w"), "trusted"))
    assert report.control is not None
    assert other.control is not None
    assert other.control.cached
    assert taught.digest("plain") != taught.digest("trusted")


def test_teachers_whose_weights_are_zero_teach_nothing_there(taught: EngineHarness) -> None:
    """A student of soft targets alone, weighted by the rows of two classes, never learns the third."""
    rows = arrays()
    rows["v"] = (rows["label"] != 2).astype(float)
    taught.dataset(rows, **MANIFEST)
    teacher = {**TRAIN, "training": {**PLAIN, "epochs": 10}}
    taught.teacher(taught.run(teacher, "teacher-2"), taught.folder / "teacher-2/attempt-1")
    recalls = {}
    for name, term in (("all", {}), ("two", {"row_weights": "v"})):
        spec = distilled({"epochs": 10}, weight=1.0, **term)
        spec["distillation"]["supervised"] = {"weight": 0.0}
        report = report_of(taught.run({**spec, "control": False}, name))
        recalls[name] = {each.index: each.parties["student"].recall for each in report.per_class["label"]}[2]
    assert recalls["all"] is not None
    assert recalls["two"] is not None
    assert recalls["all"] > recalls["two"] + 0.3


def test_a_task_has_its_own_weights_or_those_of_the_job_and_so_has_its_baseline(weighted: EngineHarness) -> None:
    tasks = [{"name": "label"}, {"name": "size", "row_weights": "v"}]
    spec = {"kind": "multitask", "student": STUDENT, "baselines": True, "tasks": tasks}
    report = report_of(weighted.run(spec | {"training": {**PLAIN, "row_weights": "w"}}))
    assert report.baselines is not None
    for task, name in (("label", "w"), ("size", "v")):
        alone = {**TRAIN, "target": task, "training": {**PLAIN, "row_weights": name}}
        quality = report_of(weighted.run(alone, task)).student.tasks[task]
        assert report.baselines.tasks[task].quality == quality
    other = spec | {"training": {**PLAIN, "row_weights": "v"}}
    baselines = report_of(weighted.run(other, "other")).baselines
    assert baselines is not None
    assert {name: each.cached for name, each in baselines.tasks.items()} == {"label": False, "size": True}


def test_candidates_that_train_as_one_step_have_the_row_weights_of_the_job(taught: EngineHarness) -> None:
    """A learned temperature of no weight beside the searched one makes them train one by one."""
    training = {**PLAIN, "row_weights": "w", "select_by": "loss"}
    searched = {**KD, "weight": 0.5, "temperature": {"search": [1.0, 8.0]}, "row_weights": "v"}
    beside = {"method": "kd", "temperature": {"learned": True}, "weight": 0.0}
    scores = []
    for terms in ([searched], [searched, beside]):
        spec = {**distilled(training), "control": False}
        spec["distillation"] = {"soft_targets": terms, "supervised": {"weight": 0.5}}
        report = report_of(taught.run(spec, f"job-{len(terms)}"))
        assert report.search is not None
        scores.append([trial.score for trial in report.search.trials])
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)


def test_joined_datasets_have_the_weights_of_both(weighted: EngineHarness) -> None:
    """One file that is cut into two datasets trains the student of the whole."""
    rows = arrays()
    first, second = (
        {name: values[part] for name, values in rows.items()} for part in (slice(0, 100), slice(100, None))
    )
    split: dict[str, Any] = {"splits": {"fractions": {"train": 1.0}}}
    training = {**PLAIN, "batch_size": 240, "row_weights": "w"}
    weighted.dataset(rows, **MANIFEST, **split)
    weighted.run({**TRAIN, "training": training}, "whole")
    weighted.dataset(first, **MANIFEST, **split)
    weighted.another(second, **MANIFEST, **split)
    datasets = [{"dataset": DATASET, "weight": 100.0}, {"dataset": OTHER, "weight": 140.0}]
    weighted.run({**TRAIN, "datasets": datasets, "training": training}, "joined")
    whole, joined = (weighted.weights(name)["layers.0.weight"] for name in ("whole", "joined"))
    assert torch.allclose(whole, joined, atol=1e-5)


def test_the_model_card_says_that_rows_are_weighted(weighted: EngineHarness) -> None:
    weighted.run({**TRAIN, "training": {**PLAIN, "row_weights": "w"}})
    assert b"rows weighted by w" in (weighted.outputs() / "student.safetensors").read_bytes()
