"""Class weights and losses on labels in whole jobs: equal for student, control, baseline; exact in micro-batches."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.harness import EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, job, soft

PLAIN: dict[str, Any] = {"epochs": 2, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.05, "select_by": "last"}
RARE: dict[str, Any] = {"class_weights": "balanced", "loss": "focal"}
TRAIN: dict[str, Any] = {"kind": "train", "target": "label", "model": {"family": "mlp", "hidden": [8]}}


def imbalanced(harness: EngineHarness) -> EngineHarness:
    arrays = blobs()
    keep = (arrays["label"] != 2) | (np.random.default_rng(1).random(len(arrays["label"])) < 0.15)
    harness.dataset({name: values[keep] for name, values in arrays.items()})
    return harness


@pytest.mark.parametrize("settings", [{"class_weights": [1, 2, 40]}, RARE, {"loss": {"name": "focal", "gamma": 0.5}}])
def test_micro_batches_give_the_student_of_whole_batches(harness: EngineHarness, settings: dict[str, Any]) -> None:
    """The weighted mean of torch divides by the weights of the micro-batch, and would differ."""
    imbalanced(harness)
    harness.run(TRAIN | {"training": PLAIN | settings}, "whole")
    harness.run(TRAIN | {"training": PLAIN | settings | {"micro_batch_size": 7}}, "parts")
    harness.run(TRAIN | {"training": PLAIN}, "plain")
    whole, parts, plain = (harness.weights(job)["layers.0.weight"] for job in ("whole", "parts", "plain"))
    assert torch.allclose(whole, parts, atol=1e-6)
    assert not torch.allclose(whole, plain, atol=1e-3)


def test_a_control_is_trained_with_the_weights_and_loss_of_the_student(harness: EngineHarness) -> None:
    """It is the model of a train job with the same settings, bit by bit."""
    add_teachers(harness)
    for name, settings in (("weighted", RARE), ("plain", {})):
        harness.run(soft({"method": "kd"}, training={**TRAINING, **settings}), name)
    model = {"family": "mlp", "hidden": [8]}
    trained = {"kind": "train", "target": "label", "model": model, "training": {**TRAINING, **RARE}}
    harness.run(trained, "alone")
    assert harness.weights("weighted", role="control")["layers.0.weight"].equal(
        harness.weights("alone")["layers.0.weight"]
    )
    assert harness.digest("weighted", role="control") != harness.digest("plain", role="control")


def test_the_report_and_the_model_card_say_the_weights(harness: EngineHarness) -> None:
    imbalanced(harness)
    outcome = harness.run(TRAIN | {"training": PLAIN | RARE})
    weights = report_of(outcome).class_weights["label"]
    assert sorted(weights, key=lambda name: weights[name])[-1] == "2"
    assert outcome.student_manifest is not None
    card = (harness.outputs() / "student.safetensors").read_bytes()
    assert b"loss on the labels of `label`: focal (gamma 2), balanced classes" in card
    assert report_of(harness.run(TRAIN | {"training": PLAIN}, "plain")).class_weights == {}


def test_a_baseline_has_the_weights_and_loss_of_its_task_and_another_cache_entry(harness: EngineHarness) -> None:
    imbalanced(harness)
    tasks = [{"name": "label", **RARE}, {"name": "size", "loss": "huber"}]
    spec = {"kind": "multitask", "student": {"family": "mlp", "hidden": [8]}, "baselines": True, "training": PLAIN}
    report = report_of(harness.run(spec | {"tasks": tasks}, "weighted"))
    plain = report_of(harness.run(spec | {"tasks": [{"name": "label"}, {"name": "size"}]}, "plain"))
    alone = report_of(harness.run(TRAIN | {"training": PLAIN | RARE}, "alone"))
    assert report.baselines is not None
    assert plain.baselines is not None
    assert set(report.class_weights) == {"label"}
    assert report.baselines.tasks["label"].quality == alone.student.tasks["label"]
    assert report.baselines.tasks["label"].quality != plain.baselines.tasks["label"].quality


def test_a_class_without_a_weight_is_not_learned_and_rare_ones_gain_recall(harness: EngineHarness) -> None:
    imbalanced(harness)
    recalls = {}
    for name, weights in (("none", [1, 1, 0]), ("much", [1, 1, 50])):
        training = {**PLAIN, "epochs": 20, "class_weights": weights}
        report = report_of(harness.run(TRAIN | {"training": training}, name))
        recalls[name] = {each.index: each.parties["student"].recall for each in report.per_class["label"]}[2]
    assert recalls == {"none": 0.0, "much": 1.0}


def test_candidates_that_train_as_one_step_have_the_weights_and_loss_of_the_job(harness: EngineHarness) -> None:
    """A learned temperature of no weight beside the searched one makes them train one by one."""
    add_teachers(harness)
    training = {**TRAINING, **RARE, "select_by": "nll"}
    searched = {"method": "kd", "temperature": {"search": [1.0, 8.0]}, "weight": 0.5}
    beside = {"method": "kd", "temperature": {"learned": True}, "weight": 0.0}
    scores = []
    for terms in ([searched], [searched, beside]):
        spec = job({"soft_targets": terms, "supervised": {"weight": 0.5}}, training=training)
        report = report_of(harness.run(spec | {"control": False}, f"job-{len(terms)}"))
        assert report.search is not None
        scores.append([trial.score for trial in report.search.trials])
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)
