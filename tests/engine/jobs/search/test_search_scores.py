"""Candidates of a search are compared by measures that do not depend on what is searched; ties never go by place."""

from typing import Any

import numpy as np
import pytest
import torch

from app.contracts.problems import UserError
from app.contracts.reports.report import Report
from app.contracts.reports.search import SearchReport, Trial
from app.contracts.wire.events import MetricsEvent
from tests.engine.harness import MANIFEST, STUDENT, EngineHarness, blobs, report_of
from tests.engine.jobs.distillation.method_specs import TRAINING, add_teachers, job, soft
from tests.engine.plain_training import others
from workers.engine.common.files import read_document, write_document

Json = dict[str, Any]
ALONE: Json = {"early_stopping": {"patience": 1000}}
"""With it candidates are trained one by one."""
PATHS = pytest.mark.parametrize("alone", [{}, ALONE], ids=["as one step", "one by one"])
TIED: Json = {**TRAINING, "epochs": 5, "learning_rate": 0.05}


def unlabelled(harness: EngineHarness) -> None:
    """The teachers, and a dataset without the labels that they know."""
    add_teachers(harness)
    harness.dataset(targets={"side": MANIFEST["targets"]["side"]})


def separable(harness: EngineHarness, **manifest: Any) -> None:
    """The teachers, and rows near the centres of their classes, on which every student is right."""
    add_teachers(harness)
    arrays = blobs()
    labels = arrays["label"]
    centres = np.stack([arrays["x"][labels == k].mean(0) for k in range(3)])[labels]
    arrays["x"] = centres + 0.1 * (arrays["x"] - centres)
    harness.dataset(arrays, **manifest)


def searched(report: Report) -> SearchReport:
    assert report.search is not None
    return report.search


def values(search: SearchReport) -> list[float]:
    """The searched value of each candidate; of one search."""
    return [next(iter(trial.values.values())) for trial in search.trials]


def winner(search: SearchReport) -> float:
    return values(search)[search.chosen]


def training_losses(harness: EngineHarness, count: int) -> list[float]:
    """The smallest weighted validation loss of each candidate, by which they were compared before."""
    losses = []
    for k in range(count):
        one_by_one = harness.log.series(f"search-{k}/validation/loss")
        as_one = [-value for value in harness.log.series(f"search/{k}/validation/loss") if value is not None]
        losses.append(min(value for value in one_by_one or as_one if value is not None))
    return losses


def assert_same_weights(harness: EngineHarness, trained: str, searched: str) -> None:
    """The student of one job and the control of another."""
    student, control = harness.weights(trained), harness.weights(searched, role="control")
    assert all(torch.equal(student[name], control[name]) for name in control)


@PATHS
def test_without_labels_the_student_nearest_to_its_teacher_wins_not_the_smallest_weight(
    harness: EngineHarness, alone: Json
) -> None:
    unlabelled(harness)
    training = {**TRAINING, "optimizer": "sgd", **alone}
    spec = soft({"method": "kd", "weight": {"search": [0.01, 0.9]}}, training=training, control=False)
    search = searched(report_of(harness.run(spec)))
    small, large = training_losses(harness, 2)
    assert small < large, "the smaller weight has the smaller loss"
    assert (search.measure, search.loss_measure, search.rows) == ("kl", "kl", 36)
    assert winner(search) == 0.9
    assert [trial.score for trial in search.trials] == [-(trial.loss or 0.0) for trial in search.trials]


@PATHS
def test_without_labels_temperatures_are_compared_at_temperature_1(harness: EngineHarness, alone: Json) -> None:
    unlabelled(harness)
    spec = soft({"method": "kd", "temperature": {"search": [0.1, 1.0]}}, training={**TRAINING, **alone}, control=False)
    search = searched(report_of(harness.run(spec)))
    low, high = training_losses(harness, 2)
    assert low < high, "temperature² · KL is smaller at the lower temperature"
    assert winner(search) == 1.0


@PATHS
def test_selection_by_loss_compares_the_loss_on_labels_alone(harness: EngineHarness, alone: Json) -> None:
    add_teachers(harness)
    training = {**TRAINING, "optimizer": "sgd", "select_by": "loss", **alone}
    spec = soft({"method": "kd", "weight": {"search": [0.01, 0.9]}}, training=training, control=False)
    search = searched(report_of(harness.run(spec)))
    small, large = training_losses(harness, 2)
    assert small < large
    assert search.measure == "nll"
    assert winner(search) == 0.9


def test_measures_of_candidates_are_the_same_as_one_step_and_one_by_one(harness: EngineHarness) -> None:
    add_teachers(harness)
    term = {"method": "kd", "weight": {"search": [0.1, 0.9]}}
    together, apart = (
        searched(report_of(harness.run(soft(term, training={**TRAINING, **alone}, control=False), name)))
        for name, alone in (("together", {}), ("apart", ALONE))
    )
    assert [trial.score for trial in together.trials] == pytest.approx([trial.score for trial in apart.trials])
    assert [trial.loss for trial in together.trials] == pytest.approx([trial.loss for trial in apart.trials], rel=1e-3)


@PATHS
@pytest.mark.parametrize("temperatures", [[1.0, 2.0, 8.0], [8.0, 2.0, 1.0]])
def test_equal_scores_are_decided_by_the_loss_on_labels_whatever_the_order(
    harness: EngineHarness, alone: Json, temperatures: list[float]
) -> None:
    separable(harness)
    term = {"method": "kd", "temperature": {"search": temperatures}}
    report = report_of(harness.run(soft(term, training={**TIED, **alone}, control=False)))
    search = searched(report)
    losses = [trial.loss for trial in search.trials]
    assert (search.tied, search.decided_by) == (3, "loss")
    assert losses[search.chosen] == min(loss for loss in losses if loss is not None)
    assert winner(search) == 2.0, "in both orders"
    assert "search_tied" in harness.log.warnings
    message = next(warning["message"] for warning in report.warnings if warning["code"] == "search_tied")
    assert message.startswith(
        "3 of 3 candidates of the search are equal in accuracy on 36 validation rows, and the lowest nll decided: "
    )


def test_candidates_that_are_equal_in_everything_are_said_to_be(harness: EngineHarness) -> None:
    """A term without weight has no part in the training, so that its temperature changes nothing."""
    add_teachers(harness)
    terms = [{"method": "kd", "temperature": {"search": [4.0, 2.0]}, "weight": 0.0}, {"method": "kd"}]
    search = searched(report_of(harness.run(job({"soft_targets": terms}, control=False))))
    assert (search.tied, search.decided_by) == (2, "values")
    assert winner(search) == 2.0, "the smaller one"
    assert "search_tied" in harness.log.warnings


def test_a_search_without_a_tie_has_no_warning(harness: EngineHarness) -> None:
    add_teachers(harness)
    term = {"method": "kd", "temperature": {"search": [1.0, 8.0]}}
    training = {**TRAINING, "select_by": "nll"}
    search = searched(report_of(harness.run(soft(term, training=training, control=False))))
    assert (search.tied, search.decided_by) == (1, "score")
    assert others(harness.log.warnings) == []


@pytest.mark.parametrize("folds", [None, 2])
def test_the_control_is_chosen_as_the_candidates_are_whatever_the_order(
    harness: EngineHarness, folds: int | None
) -> None:
    """With folds the dataset has no validation split at all."""
    splits = {"fractions": {"train": 0.8, "validation": 0.0 if folds else 0.1, "test": 0.2 if folds else 0.1}}
    separable(harness, splits=splits)
    controls = []
    for name, rates in (("up", [0.001, 0.05]), ("down", [0.05, 0.001])):
        training = {**TIED, "learning_rate": {"search": rates, "folds": folds}}
        report = report_of(
            harness.run(soft({"method": "kd"}, training=training), name, cache_dir=f"{harness.folder}/{name}")
        )
        search = searched(report)
        losses = [loss for loss in search.control_losses if loss is not None]
        assert len(search.controls) == len(losses) == 2
        controls.append((harness.digest(name, role="control"), dict(zip(rates, losses, strict=True))))
    assert controls[0] == controls[1]
    assert controls[0][1][0.05] < controls[0][1][0.001], "the rate that has the lower loss"
    spec = {"kind": "train", "target": "label", "model": STUDENT, "training": {**TIED, "learning_rate": 0.05}}
    harness.run(spec, "trained")
    assert_same_weights(harness, "trained", "up")


def test_equal_controls_of_other_seeds_are_decided_by_the_loss(harness: EngineHarness) -> None:
    separable(harness)
    term = {"method": "kd", "temperature": {"search": [1.0, 2.0, 4.0]}}
    report = report_of(harness.run(soft(term, training=TIED)))
    search = searched(report)
    assert len(set(search.controls)) == 1
    best = search.control_losses.index(min(loss for loss in search.control_losses if loss is not None))
    training = {**TIED, "seed": best}
    harness.run({"kind": "train", "target": "label", "model": STUDENT, "training": training}, "trained")
    assert_same_weights(harness, "trained", "job")


@pytest.mark.parametrize(("validation", "compared"), [(0.1, 2), (0.0, 0)])
def test_controls_of_other_seeds_are_compared_on_the_validation_split_alone(
    harness: EngineHarness, validation: float, compared: int
) -> None:
    """Without one the control of the job's own seed is taken, and no other is trained."""
    add_teachers(harness)
    harness.dataset(splits={"fractions": {"train": 0.8, "validation": validation, "test": 0.2 - validation}})
    term = {"method": "kd", "temperature": {"search": [1.0, 4.0], "folds": 2}}
    report = report_of(harness.run(soft(term)))
    finished = harness.folder / "job" / "checkpoints" / "finished"
    assert len(searched(report).controls) == compared
    assert len(list(finished.glob("control-*"))) == max(1, compared)
    assert report.control is not None


@PATHS
def test_with_the_last_epoch_selected_candidates_are_compared_by_it(harness: EngineHarness, alone: Json) -> None:
    add_teachers(harness)
    training = {**TRAINING, "epochs": 6, "learning_rate": 0.5, "select_by": "last", **alone}
    term = {"method": "kd", "temperature": {"search": [1.0, 2.0, 4.0]}}
    search = searched(report_of(harness.run(soft(term, training=training, control=False))))
    names = [(f"search-{k}/validation/label/accuracy", f"search/{k}/validation/accuracy") for k in range(3)]
    curves = [harness.log.series(one) or harness.log.series(other) for one, other in names]
    assert [trial.score for trial in search.trials] == pytest.approx([curve[-1] for curve in curves])
    assert any(max(value or 0.0 for value in curve) > (curve[-1] or 0.0) for curve in curves), "not always the best"


def test_folds_that_cannot_be_averaged_end_the_job_before_any_training(harness: EngineHarness) -> None:
    """Two labelled rows in three folds: one fold would be measured by its teacher, the others by labels."""
    add_teachers(harness)
    arrays = blobs()
    arrays["label"][2:] = -1
    arrays["label"][:2] = [0, 1]
    harness.dataset(arrays, splits={"fractions": {"train": 1.0, "validation": 0.0, "test": 0.0}})
    term = {"method": "kd", "temperature": {"search": [1.0, 2.0], "folds": 3}}
    with pytest.raises(UserError) as caught:
        harness.run(soft(term, control=False))
    assert caught.value.code == "search_unmeasured"
    assert not any(isinstance(event, MetricsEvent) for event in harness.log.events)


def test_a_metric_that_the_labels_leave_undefined_ends_a_search_before_any_training(harness: EngineHarness) -> None:
    add_teachers(harness)
    arrays = blobs()
    arrays["split"] = np.array(["train"] * 180 + ["validation"] * 60)
    arrays["label"][180:] = 1
    harness.dataset(arrays, splits={"column": "split"})
    spec = soft({"method": "kd", "temperature": {"search": [1.0, 2.0]}}, training={**TRAINING, "select_by": "auroc"})
    with pytest.raises(UserError) as caught:
        harness.run(spec)
    assert caught.value.code == "metric_undefined"
    assert not any(isinstance(event, MetricsEvent) for event in harness.log.events)


def test_tasks_count_equally_in_a_search_whatever_their_weights(harness: EngineHarness) -> None:
    add_teachers(harness)
    tasks: list[Json] = [
        {"name": "label", "weight": 0.001, "teachers": job({})["teachers"]},
        {"name": "size", "weight": 1000.0},
    ]
    tasks[0]["distillation"] = {"soft_targets": {"method": "kd", "weight": {"search": [0.1, 0.9]}}}
    training = {**TRAINING, "epochs": 2, "select_by": "loss"}
    spec = {"kind": "multitask", "tasks": tasks, "student": STUDENT, "training": training, "control": False}
    search = searched(report_of(harness.run(spec)))
    assert (search.measure, search.loss_measure) == ("nll, mse", "nll, mse")
    epochs = [harness.log.series(f"search-{k}/validation/loss") for k in range(2)]
    for k, (trial, losses) in enumerate(zip(search.trials, epochs, strict=True)):
        selected = losses.index(min(loss for loss in losses if loss is not None))
        nll = harness.log.series(f"search-{k}/validation/label/nll")[selected]
        rmse = harness.log.series(f"search-{k}/validation/size/rmse")[selected]
        assert nll is not None
        assert rmse is not None
        assert harness.data is not None
        assert harness.data.facts is not None
        std = harness.data.facts.targets["size"].std
        assert std is not None
        assert trial.loss == pytest.approx((nll + (rmse / std) ** 2) / 2, rel=1e-4)


def test_scores_of_an_earlier_version_are_not_taken_up(harness: EngineHarness) -> None:
    add_teachers(harness)
    spec = soft({"method": "kd", "weight": {"search": [0.1, 0.9]}}, control=False)
    whole = report_of(harness.run(spec))
    finished = harness.folder / "job" / "checkpoints" / "finished" / "search.json"
    document = read_document(finished)
    assert document is not None
    write_document(finished, {**{key: document[key] for key in document if key != "compared"}, "scores": [0.0, 1.0]})
    assert report_of(harness.run(spec, attempt=2)).search == whole.search


def test_reports_of_an_earlier_version_are_read() -> None:
    document = {"trials": [{"values": {"/training/learning_rate": 0.1}, "score": 0.5}], "chosen": 0, "controls": [0.5]}
    report = SearchReport.model_validate(document)
    assert report.trials == (Trial(values={"/training/learning_rate": 0.1}, score=0.5),)
    assert (report.measure, report.tied) == (None, 1)
