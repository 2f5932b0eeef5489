"""Which epoch's weights are exported, and when a learner stops."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.balancing.small_network import fixed, network_of
from tests.engine.harness import STUDENT, TEACHER, EngineHarness, blobs, report_of
from tests.engine.plain_training import plain_settings
from workers.engine.data.reading import read_dataset
from workers.engine.training.learner import Learner

TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "label",
    "model": {"family": "mlp", "hidden": [16]},
    "training": {"epochs": 4, "batch_size": 32, "learning_rate": 0.01},
}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": STUDENT,
    "training": TRAIN["training"],
}


def learner_of(**spec: Any) -> Learner:
    training = plain_settings(**spec)
    return Learner("student", network_of(("label",)), [], fixed((1.0,)), training, 100, torch.device("cpu"))


def judged(learner: Learner, values: list[float], losses: list[float | None] | None = None) -> None:
    """Epochs 1, 2, 3 … with these scores, until the learner stops; its weights say which epoch they are from."""
    for epoch, value in enumerate(values, start=1):
        if not learner.stopped:
            with torch.no_grad():
                learner.network.head("label").bias.fill_(float(epoch))
            learner.record_score(value, epoch, loss=1.0 if losses is None else losses[epoch - 1])


def kept(learner: Learner, last: int) -> tuple[int, float]:
    """The epoch that is exported: as reported, and by its weights."""
    return learner.finish(last), float(learner.network.head("label").bias.detach()[0])


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.1, 0.5, 0.3], 2),
        ([0.5, 0.5, 0.5], 1),
        ([math.nan, 0.2, math.nan], 2),
        ([math.inf, -math.inf, -7.0], 3),
    ],
)
def test_the_first_epoch_with_the_best_finite_score_is_kept(values: list[float], best: int) -> None:
    learner = learner_of()
    judged(learner, values)
    assert kept(learner, len(values)) == (best, best)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([0.9, 0.7, 0.8], 2),
        ([0.7, 0.7, 0.7], 1),
        ([None, 0.7, math.nan], 2),
        ([math.nan, None, math.inf], 1),
    ],
)
def test_of_equal_scores_the_epoch_of_the_lowest_loss_is_kept(losses: list[float | None], best: int) -> None:
    learner = learner_of()
    judged(learner, [0.5, 0.5, 0.5], losses)
    assert kept(learner, 3) == (best, best)


def test_a_lower_loss_never_beats_a_higher_score_and_does_not_count_as_an_improvement() -> None:
    learner = learner_of(early_stopping={"patience": 2})
    judged(learner, [0.5, 0.4, 0.5, 0.6], [0.9, 0.1, 0.2, 0.1])
    assert learner.stopped
    assert kept(learner, 4) == (3, 3.0)


def test_without_a_finite_score_or_when_asked_for_it_is_the_last_epoch() -> None:
    never, asked = learner_of(), learner_of(select_by="last")
    judged(never, [math.nan, math.inf])
    judged(asked, [0.9, 0.1])
    assert kept(never, 2) == kept(asked, 2) == (2, 2.0)


@pytest.mark.parametrize(
    ("values", "last"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], 5),
        ([0.5, 0.4, 0.5, 0.9], 3),
        ([0.5, 0.55, 0.56, 0.9], 3),
        ([math.nan, math.nan, 0.9], 2),
    ],
)
def test_patience_counts_the_epochs_that_gained_no_more_than_min_delta(values: list[float], last: int) -> None:
    learner = learner_of(early_stopping={"patience": 2, "min_delta": 0.08}, select_by="last")
    judged(learner, values)
    assert kept(learner, last) == (last, last)
    assert learner.stopped == (last < len(values))


def test_steps_that_end_inside_an_epoch_are_of_that_epoch(harness: EngineHarness) -> None:
    harness.dataset()
    for select_by in ("last", "metric"):
        training = {"steps": 3, "batch_size": 32, "select_by": select_by}
        report = report_of(harness.run(TRAIN | {"training": training}, select_by))
        assert (report.student.epoch, report.student.steps) == (1, 3)


def with_a_teacher_and_no_validation_labels(harness: EngineHarness) -> EngineHarness:
    """A trained teacher, and then data whose validation split has lost its labels."""
    harness.dataset()
    harness.teacher(harness.run(TRAIN, "teacher"), harness.folder / "teacher" / "attempt-1")
    assert harness.data is not None
    arrays = blobs()
    splits = read_dataset(Path(harness.data.path), harness.data.manifest).splits
    arrays["label"][splits["validation"].numpy()] = -1
    harness.dataset(arrays)
    return harness


def test_a_validation_split_without_a_label_selects_nothing_and_the_report_says_so(harness: EngineHarness) -> None:
    """Its loss would be 0 at every epoch, the first one would be best, and a patient job would stop."""
    with_a_teacher_and_no_validation_labels(harness)
    training = TRAIN["training"] | {"early_stopping": {"patience": 1}}
    report = report_of(harness.run(TRAIN | {"training": training}))
    assert report.student.epoch == 4
    assert "selection" in report.not_measured
    assert harness.log.series("validation/loss") == [None] * 4


def test_a_control_without_a_label_to_be_judged_by_is_trained_to_its_last_epoch(harness: EngineHarness) -> None:
    """The student is judged by its teacher's outputs; a control of the first epoch would be no control."""
    with_a_teacher_and_no_validation_labels(harness)
    report = report_of(harness.run(DISTILL))
    assert report.control is not None
    assert (report.control.epoch, report.control.steps) == (4, report.student.steps)
    assert "selection" not in report.not_measured
    assert all(value is not None for value in harness.log.series("validation/loss"))


@pytest.mark.parametrize(("select_by", "epoch"), [("metric", 1), ("loss", 1), ("last", 2)])
def test_members_that_stop_at_different_epochs_report_their_own(
    harness: EngineHarness, select_by: str, epoch: int
) -> None:
    """At a rate of nothing the student stops at once; the control, without labels to be judged by, does not."""
    with_a_teacher_and_no_validation_labels(harness)
    changes = {"learning_rate": 1e-30, "early_stopping": {"patience": 1}, "select_by": select_by}
    report = report_of(harness.run(DISTILL | {"training": DISTILL["training"] | changes}))
    assert report.control is not None
    assert (report.student.epoch, report.student.steps) == (epoch, 12)
    assert (report.control.epoch, report.control.steps) == (4, 24)
