"""The engine from order to outcome, all three kinds, on small data."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.contracts.problems import UserError
from app.contracts.wire.orders import PREDICTIONS_ROLES
from tests.engine.harness import SECOND, STUDENT, TEACHER, EngineHarness, blobs, report_of
from workers.engine.models import build

TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "label",
    "model": {"family": "mlp", "hidden": [32]},
    "training": {"epochs": 8, "batch_size": 32, "learning_rate": 0.01},
}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": STUDENT,
    "training": {"epochs": 4, "batch_size": 32, "learning_rate": 0.01},
}


def with_teacher(harness: EngineHarness, **dataset: Any) -> EngineHarness:
    """A harness with data and a teacher that was trained on them."""
    harness.dataset(**dataset)
    harness.teacher(harness.run(TRAIN, "teacher"), harness.folder / "teacher" / "attempt-1")
    return harness


def test_training_learns_and_reports_what_it_measured(harness: EngineHarness) -> None:
    harness.dataset()
    report = report_of(harness.run(TRAIN))
    accuracy = report.student.tasks["label"]["accuracy"]
    assert accuracy is not None
    assert accuracy > 0.8
    assert report.student.parameters == 6 * 32 + 32 + 32 * 3 + 3
    assert report.student.flops == 2 * (6 * 32 + 32 * 3)
    assert set(report.student.latency) == {"1", "64"}
    assert report.verdict == {}
    losses = [value for value in harness.log.series("train/loss") if value is not None]
    assert losses[-1] < 0.7 * losses[0]
    assert harness.log.series("validation/label/accuracy")[-1] is not None


def test_the_exported_weights_are_those_of_the_epoch_that_was_best_on_validation(harness: EngineHarness) -> None:
    harness.dataset()
    report = report_of(harness.run(TRAIN))
    scores = harness.log.series("validation/label/accuracy")
    best = max(score for score in scores if score is not None)
    losses = harness.log.series("validation/loss")
    tied = [epoch for epoch, score in enumerate(scores, start=1) if score == best]
    assert report.student.epoch == min(tied, key=lambda epoch: losses[epoch - 1] or 0.0)


def test_distillation_reports_teacher_student_control_and_a_verdict(harness: EngineHarness) -> None:
    with_teacher(harness)
    report = report_of(harness.run(DISTILL))
    assert report.control is not None
    assert report.control.steps == report.student.steps
    assert report.verdict["label"].verdict in {"provisional_gain", "provisional_loss", "undecided"}
    assert report.fidelity["label"].agreement is not None
    assert report.compression is not None
    assert report.compression.parameters == pytest.approx((6 * 32 + 32 + 32 * 3 + 3) / (6 * 8 + 8 + 8 * 3 + 3))
    assert report.teachers[0].tasks["label"]["accuracy"] is not None


def test_the_second_job_on_the_same_teacher_and_data_makes_no_teacher_pass(harness: EngineHarness) -> None:
    with_teacher(harness)
    first = report_of(harness.run(DISTILL, "first"))
    second = report_of(harness.run(DISTILL | {"student": {"family": "mlp", "hidden": [5]}}, "second"))
    assert (first.targets[0].store, first.targets[0].passes) == ("miss", 1)
    assert (second.targets[0].store, second.targets[0].passes) == ("hit", 0)
    assert (first.targets[0].saved, second.targets[0].saved) == (0, 1)


def test_the_second_job_with_the_same_control_finds_it_and_gives_the_same_student(harness: EngineHarness) -> None:
    with_teacher(harness)
    first = report_of(harness.run(DISTILL, "first"))
    second = report_of(harness.run(DISTILL, "second"))
    assert first.control is not None
    assert second.control is not None
    assert (first.control.cached, second.control.cached) == (False, True)
    assert harness.digest("first") == harness.digest("second")
    assert harness.digest("first", role="control") == harness.digest("second", role="control")


def test_a_control_changes_no_bit_of_the_student(harness: EngineHarness) -> None:
    with_teacher(harness)
    harness.run(DISTILL, "with")
    harness.run(DISTILL | {"control": False}, "without")
    with_control, without = harness.weights("with"), harness.weights("without")
    assert all(torch.equal(with_control[name], without[name]) for name in without)


def test_rows_without_any_label_learn_from_the_teacher_alone(harness: EngineHarness) -> None:
    with_teacher(harness)
    harness.dataset({"x": blobs()["x"]}, targets={})
    report = report_of(harness.run({**DISTILL, "target": None}, "bare"))
    assert report.control is None
    assert report.verdict["label"].verdict == "not_applicable"
    assert report.fidelity["label"].agreement is not None
    assert report.fidelity["label"].agreement > 0.8


def test_teachers_that_stand_in_the_dataset_teach_as_live_ones_do(harness: EngineHarness) -> None:
    with_teacher(harness)
    harness.run(DISTILL | {"control": False}, "live")
    architecture = harness.models[TEACHER].manifest.architecture
    assert architecture is not None
    network = build(architecture)
    network.load_state_dict(harness.weights("teacher"))
    arrays = blobs()
    with torch.no_grad():
        logits = network(torch.from_numpy(arrays["x"]))["label"]
    arrays["told"] = logits.numpy()
    column = {"kind": "teacher", "predicts": {"kind": "class", "output": "logits"}}
    harness.dataset(arrays, targets={"label": {"kind": "class", "classes": 3}, "told": column})
    outcome = harness.run(DISTILL | {"teachers": [{"columns": "told"}], "control": False}, "columns")
    live, columns = harness.weights("live"), harness.weights("columns")
    for name, value in columns.items():
        torch.testing.assert_close(value, live[name], rtol=1e-4, atol=1e-5)
    assert report_of(outcome).targets[0].store == "columns"


def test_several_teachers_teach_their_weighted_mean(harness: EngineHarness) -> None:
    with_teacher(harness)
    other = TRAIN | {"training": TRAIN["training"] | {"seed": 5}}
    harness.teacher(harness.run(other, "other"), harness.folder / "other" / "attempt-1", SECOND)
    both = [{"model": TEACHER, "weight": 1.0}, {"model": SECOND, "weight": 0.0}]
    harness.run(DISTILL | {"teachers": both}, "both")
    harness.run(DISTILL, "one")
    one, two = harness.weights("one"), harness.weights("both")
    for name, value in two.items():
        torch.testing.assert_close(value, one[name], rtol=1e-4, atol=1e-5)
    report = report_of(harness.run(DISTILL | {"teachers": [{"model": TEACHER}, {"model": SECOND}]}, "mean"))
    assert len(report.teachers) == 2


MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [{"name": "label"}, {"name": "side", "weight": 0.5}, {"name": "size"}],
    "student": {"family": "mlp", "hidden": [32]},
    "training": {"epochs": 12, "batch_size": 32, "learning_rate": 0.01},
}


def test_multitask_learns_classes_and_values_with_labels_missing(harness: EngineHarness) -> None:
    arrays = blobs()
    random = np.random.default_rng(1)
    for name, missing in (("label", -1), ("side", -1), ("size", np.nan)):
        arrays[name][random.permutation(240)[:80]] = missing
    harness.dataset(arrays)
    report = report_of(harness.run(MULTITASK))
    size = report.student.tasks["size"]
    assert size["r2"] is not None
    assert size["r2"] > 0.8
    assert size["rmse"] is not None
    assert size["rmse"] < np.nanstd(arrays["size"]), "in the target's own units"
    assert report.student.tasks["label"]["accuracy"] is not None
    assert report.student.tasks["label"]["accuracy"] > 0.7
    assert set(harness.weights()) >= {"heads.label.weight", "heads.side.weight", "heads.size.weight"}


def test_a_teacher_inside_a_task_makes_it_the_combination(harness: EngineHarness) -> None:
    with_teacher(harness)
    tasks = [{"name": "label", "teachers": [{"model": TEACHER}]}, {"name": "side"}]
    report = report_of(harness.run(MULTITASK | {"tasks": tasks}, "combined"))
    assert report.control is not None
    assert set(report.verdict) == {"label", "side"}
    assert harness.log.series("train/label/kd")


def test_a_relation_with_pcgrad_runs_and_is_reported_normalised(harness: EngineHarness) -> None:
    harness.dataset()
    tasks = [{"name": "label"}, {"name": "side"}, {"name": "size"}]
    relation = {"matrix": [[2, 1, 1], [0, 1, 1], [0, 0, 3]]}
    spec = MULTITASK | {"tasks": tasks, "relation": relation, "balancing": {"method": "pcgrad"}}
    report = report_of(harness.run(spec))
    assert report.relation is not None
    assert [sum(row) for row in report.relation.matrix] == pytest.approx([1.0, 1.0, 1.0])


def test_onnx_on_request_is_compared_with_torch(harness: EngineHarness) -> None:
    harness.dataset()
    outcome = harness.run(TRAIN | {"exports": ["onnx"]})
    check = report_of(outcome).export["onnx"]
    assert check.max_abs_difference <= check.tolerance
    assert {file.role for file in outcome.files} == {
        "student", "onnx", "report", "reference_rows", *PREDICTIONS_ROLES.values(),
    }  # fmt: skip


def test_a_loss_that_is_not_finite_ends_as_diverged_and_says_where(harness: EngineHarness) -> None:
    harness.dataset()
    wild = TRAIN | {"training": {"epochs": 3, "optimizer": "sgd", "learning_rate": 1e3, "batch_size": 16}}
    wild |= {"kind": "train", "target": "size"}
    with pytest.raises(UserError) as caught:
        harness.run(wild)
    assert caught.value.code == "diverged"
    assert "size/supervised" in caught.value.message


def test_no_checkpoint_holds_a_weight_that_is_not_finite(harness: EngineHarness) -> None:
    harness.dataset()
    wild = {**TRAIN, "target": "size"}
    wild["training"] = {"epochs": 3, "optimizer": "sgd", "learning_rate": 1e3, "batch_size": 16}
    with pytest.raises(UserError):
        harness.run(wild, checkpoint_seconds=0.0)
    kept = sorted((harness.folder / "job" / "checkpoints").glob("step-*"))
    assert [path.name for path in kept] == [event.name for event in harness.log.checkpoints[-2:]]
    for path in kept:
        weights = {key: value for key, value in load_file(path / "tensors.safetensors").items() if "/network/" in key}
        assert len(weights) == 4
        assert all(bool(weight.isfinite().all()) for weight in weights.values())


def test_early_stopping_ends_a_member_that_improves_no_more(harness: EngineHarness) -> None:
    harness.dataset()
    training = {"epochs": 200, "batch_size": 64, "learning_rate": 0.05, "early_stopping": {"patience": 3}}
    report = report_of(harness.run(TRAIN | {"training": training}))
    assert report.student.steps is not None
    assert report.student.steps < 200 * 3
