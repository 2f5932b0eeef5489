"""Losses on labels, class weights and the selection of epochs are checked against the tasks of a job."""

from typing import Any

import pytest

from app.contracts.resources.facts import DatasetFacts, TargetFacts
from app.contracts.specs.jobs import MultitaskJob, TrainJob
from tests.contracts.resolving.test_resolve import SPLITS, TRAIN, codes, dataset, resolved, warned

ANIMALS = TargetFacts(kind="class", size=3, classes=("cat", "dog", "owl"), labelled=SPLITS)
DIGITS = TargetFacts(kind="class", size=10, labelled=SPLITS)
SIZE = TargetFacts(kind="value", size=1, labelled=SPLITS)
TAGS = TargetFacts(kind="multilabel", size=4, labelled=SPLITS)
MULTITASK: dict[str, Any] = {"kind": "multitask", "student": {"family": "mlp"}}


def trained(training: dict[str, Any], target: TargetFacts = ANIMALS) -> Any:
    return resolved(TRAIN | {"training": training}, dataset(digit=target))


def test_class_weights_are_frozen_in_the_order_of_the_classes() -> None:
    for asked, wanted in (
        ({"owl": 9, "cat": 2}, (2.0, 1.0, 9.0)),
        ({"2": 9, "cat": 2}, (2.0, 1.0, 9.0)),
        ([1, 2, 3], (1.0, 2.0, 3.0)),
        ("balanced", "balanced"),
    ):
        found = trained({"class_weights": asked})
        assert not found.problems
        assert isinstance(found.spec, TrainJob)
        assert found.spec.training.class_weights == wanted
    numbered = trained({"class_weights": {"7": 3}}, DIGITS)
    assert numbered.spec.training.class_weights == (1.0,) * 7 + (3.0,) + (1.0,) * 2


@pytest.mark.parametrize(
    ("training", "target", "expected"),
    [
        ({"class_weights": [1, 9]}, ANIMALS, ("/training/class_weights", "class_weights_mismatch")),
        ({"class_weights": {"cow": 2}}, ANIMALS, ("/training/class_weights", "unknown_class")),
        ({"class_weights": {"0": 2, "cat": 2}}, ANIMALS, ("/training/class_weights", "duplicate_class")),
        ({"class_weights": [0, 0, 0]}, ANIMALS, ("/training/class_weights", "weights_sum_to_zero")),
        ({"class_weights": "balanced"}, SIZE, ("/training/class_weights", "class_weights_undefined")),
        ({"loss": "focal"}, SIZE, ("/training/loss", "loss_undefined")),
        ({"loss": {"name": "huber", "delta": 2}}, TAGS, ("/training/loss", "loss_undefined")),
        ({"select_by": "rmse"}, ANIMALS, ("/training/select_by", "unknown_metric")),
        ({"select_by": "ece"}, TAGS, ("/training/select_by", "unknown_metric")),
        (
            {"select_by": "mae"},
            SIZE.model_copy(update={"labelled": {"train": 70}}),
            ("/training/select_by", "validation_needed"),
        ),
    ],
)
def test_what_no_task_can_use_is_refused(
    training: dict[str, Any], target: TargetFacts, expected: tuple[str, str]
) -> None:
    assert codes(trained(training, target)) == {expected}


def test_a_metric_of_no_task_is_refused_with_the_possible_ones() -> None:
    (problem,) = trained({"select_by": "r2"}).problems
    for name in ("`macro_f1`", "`auroc`", "`nll`", "`ece`", "`brier`", "`loss`", "`last`"):
        assert name in problem.detail
    assert "`mae`" not in problem.detail


def mixed() -> DatasetFacts:
    return dataset(animal=ANIMALS, size=SIZE, tags=TAGS)


def test_several_tasks_get_the_settings_of_the_job_where_they_fit_and_keep_their_own() -> None:
    tasks = [
        {"name": "animal", "class_weights": {"dog": 4}},
        {"name": "size"},
        {"name": "tags", "loss": "cross_entropy"},
    ]
    training = {"loss": "focal", "class_weights": "balanced", "select_by": "macro_f1"}
    found = resolved(MULTITASK | {"tasks": tasks, "training": training}, mixed())
    assert not found.problems
    assert isinstance(found.spec, MultitaskJob)
    animal, size, tags = found.spec.tasks
    assert (animal.loss and animal.loss.name, animal.class_weights) == ("focal", (1.0, 4.0, 1.0))
    assert (size.loss, size.class_weights) == (None, None)
    assert (tags.loss and tags.loss.name, tags.class_weights) == ("cross_entropy", "balanced")


@pytest.mark.parametrize(
    ("task", "training", "expected"),
    [
        ({"name": "size", "loss": "focal"}, {}, ("/tasks/0/loss", "loss_undefined")),
        ({"name": "size", "class_weights": [1]}, {}, ("/tasks/0/class_weights", "class_weights_undefined")),
        ({"name": "size"}, {"loss": "focal"}, ("/training/loss", "loss_undefined")),
        ({"name": "size"}, {"class_weights": "balanced"}, ("/training/class_weights", "class_weights_undefined")),
        ({"name": "size"}, {"select_by": "accuracy"}, ("/training/select_by", "unknown_metric")),
    ],
)
def test_what_fits_no_task_of_several_is_refused(
    task: dict[str, Any], training: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert codes(resolved(MULTITASK | {"tasks": [task], "training": training}, mixed())) == {expected}


def test_plateau_needs_a_validation_split_with_labels() -> None:
    bare = dataset().model_copy(update={"splits": {"train": 100}})
    assert codes(resolved(TRAIN | {"training": {"schedule": "plateau"}}, bare)) == {
        ("/training/schedule", "validation_needed")
    }
    unlabelled = ANIMALS.model_copy(update={"labelled": {"train": 70}})
    assert codes(trained({"schedule": "plateau"}, unlabelled)) == {("/training/schedule", "validation_needed")}
    assert not trained({"schedule": {"kind": "plateau", "patience": 2}}).problems


def test_a_named_metric_without_a_validation_split_is_that_of_the_folds_and_selects_no_epoch() -> None:
    bare = dataset(digit=ANIMALS).model_copy(update={"splits": {"train": 100}})
    search = {"search": [0.1, 0.01], "folds": 3}
    found = resolved(TRAIN | {"training": {"select_by": "macro_f1", "learning_rate": search}}, bare)
    assert not found.problems
    assert isinstance(found.spec, TrainJob)
    assert found.spec.training.select_by == "macro_f1"
    assert "no_validation" in warned(found)
