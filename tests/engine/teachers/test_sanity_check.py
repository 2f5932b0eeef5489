"""Does a teacher know the labels, and does it count their classes in the same order?"""

import itertools
import math
import sys

import pytest
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ClassOutput
from workers.engine.data.dataset import TargetColumn
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.teachers.assessment import check_teacher
from workers.engine.teachers.sanity_check import (
    MAX_CLASSES,
    TeacherScore,
    best_assignment,
    class_order_warning,
    score,
)


def counted(seed: int, size: int, most: int) -> Tensor:
    return torch.randint(0, most + 1, (size, size), generator=torch.Generator().manual_seed(seed))


def gained(counts: Tensor, order: tuple[int, ...]) -> int:
    return int(counts[torch.arange(len(counts)), torch.tensor(order)].sum())


def kept(order: tuple[int, ...]) -> int:
    return sum(place == i for i, place in enumerate(order))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("most", [0, 1, 3, 50])
def test_the_assignment_is_the_best_of_all(size: int, most: int) -> None:
    for seed in range(5):
        counts = counted(seed, size, most)
        order = best_assignment(counts)
        assert sorted(order) == list(range(size))
        assert gained(counts, order) == max(gained(counts, each) for each in itertools.permutations(range(size)))


@pytest.mark.parametrize("most", [0, 1, 2])
def test_of_several_best_ones_most_classes_stay_where_they_are(most: int) -> None:
    for seed in range(10):
        counts = counted(seed, 5, most)
        order = best_assignment(counts)
        best = max((gained(counts, each), kept(each)) for each in itertools.permutations(range(5)))
        assert (gained(counts, order), kept(order)) == best


def test_the_largest_matrix_is_solved() -> None:
    moved = torch.randperm(MAX_CLASSES, generator=torch.Generator().manual_seed(0))
    counts = 50 * torch.eye(MAX_CLASSES, dtype=torch.int64)[moved] + counted(0, MAX_CLASSES, 2)
    assert best_assignment(counts) == tuple(moved.tolist())


@pytest.mark.parametrize("by", ["label", "prediction"])
def test_classes_that_are_in_order_are_found_so_without_scipy(monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Its import takes longer than a short job."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    counts = torch.tensor([[9, 2, 1], [4, 5, 0], [0, 3, 3]])
    assert best_assignment(counts if by == "label" else counts.T) == (0, 1, 2)


@pytest.mark.parametrize("shape", [(2, 3), (MAX_CLASSES + 1, MAX_CLASSES + 1)])
def test_other_shapes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="square matrix of at most"):
        best_assignment(torch.zeros(shape, dtype=torch.int64))


def score_of(answers: Tensor, labels: Tensor, classes: int, output: str = "logits") -> TeacherScore | None:
    """The score of a teacher with these answers to rows with these labels (-1 is none)."""
    outputs = torch.nn.functional.one_hot(answers, classes).float() * 3.0
    teacher_outputs = TeacherOutputs(outputs, ClassOutput.model_validate({"kind": "class", "output": output}), 1.0)
    target = TargetColumn("class", classes, labels, labels >= 0)
    return score(teacher_outputs, target, torch.arange(len(labels)))


def drawn(seed: int, rows: int, classes: int) -> Tensor:
    return torch.randint(0, classes, (rows,), generator=torch.Generator().manual_seed(seed))


def test_a_good_teacher_has_its_accuracy_and_no_other_order() -> None:
    labels = drawn(0, 1000, 5)
    answers = torch.where(torch.arange(1000) % 10 == 0, drawn(1, 1000, 5), labels)
    found = score_of(answers, labels, 5)
    assert found is not None
    assert found.accuracy == pytest.approx(float((answers == labels).double().mean()))
    assert not found.at_chance
    assert (found.order, found.accuracy_in_order) == (None, None)


def test_chance_is_cohens_and_three_standard_errors() -> None:
    labels, answers = torch.tensor([0] * 60 + [1] * 40), torch.tensor([0] * 90 + [1] * 10)
    found = score_of(answers, labels, 2)
    assert found is not None
    by_chance = 0.6 * 0.9 + 0.4 * 0.1
    assert found.chance == pytest.approx(by_chance + 3 * math.sqrt(by_chance * (1 - by_chance) / 100))


@pytest.mark.parametrize("classes", [2, 3, 10, 40])
@pytest.mark.parametrize("rows", [100, 5000])
def test_a_teacher_of_pure_noise_is_at_chance_and_suspected_of_no_order(rows: int, classes: int) -> None:
    for seed in range(10):
        found = score_of(drawn(seed, rows, classes), drawn(seed + 1000, rows, classes), classes)
        assert found is not None
        assert found.at_chance
        assert found.order is None


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_a_teacher_that_is_right_but_for_the_order_is_at_chance_and_its_order_is_reported(classes: int) -> None:
    labels = drawn(0, 2000, classes)
    found = score_of((labels + 1) % classes, labels, classes)
    assert found is not None
    assert found.at_chance
    assert found.accuracy == 0.0
    assert found.order == tuple((label + 1) % classes for label in range(classes))
    assert found.accuracy_in_order == pytest.approx(1.0)


def test_two_swapped_classes_of_ten_are_found_in_a_teacher_above_chance() -> None:
    labels = drawn(0, 1000, 10)
    swap = torch.tensor([0, 1, 7, 3, 4, 5, 6, 2, 8, 9])
    answers = torch.where(torch.arange(1000) % 5 == 0, labels, swap[labels])  # a fifth is right even of the swapped
    found = score_of(answers, labels, 10)
    assert found is not None
    assert not found.at_chance
    assert found.order == tuple(swap.tolist())
    assert found.accuracy_in_order == pytest.approx(float((answers == swap[labels]).double().mean()))
    warning = class_order_warning("digit", "big", found)
    assert warning is not None
    assert warning.code == "class_order_suspected"
    assert "label 2 were its class 7, label 7 were its class 2" in warning.message


def test_a_teacher_that_confuses_classes_is_suspected_of_no_order() -> None:
    """It predicts 5 for the rows of 0, 1 and 5: with 0 as its class 5 it would agree as well, and better by chance."""
    labels, answers = drawn(0, 1000, 10), drawn(0, 1000, 10)
    answers[(labels == 0) | (labels == 1)] = 5
    answers[labels == 5] = drawn(1, int((labels == 5).sum()), 10)
    found = score_of(answers, labels, 10)
    assert found is not None
    assert not found.at_chance
    assert found.order is None


def test_energies_are_read_with_their_sign() -> None:
    labels = drawn(0, 300, 3)
    energies = score_of(labels, labels, 3, output="energies")
    assert energies is not None
    assert energies.accuracy < 0.1


def test_rows_without_a_label_or_an_answer_are_left_out() -> None:
    labels = torch.tensor([0, 1, -1, 1, 0, 1])
    found = score_of(torch.tensor([0, 1, 0, 0, 0, 1]), labels, 2)
    assert found is not None
    assert (found.rows, found.accuracy) == (5, 0.8)
    assert score_of(torch.zeros(6, dtype=torch.int64), torch.full((6,), -1), 2) is None


def test_above_the_bound_accuracy_is_reported_and_no_order_looked_for() -> None:
    classes = MAX_CLASSES + 1
    labels = drawn(0, 4000, classes)
    found = score_of((labels + 1) % classes, labels, classes)
    assert found is not None
    assert (found.accuracy, found.order) == (0.0, None)


def test_the_refusal_of_a_teacher_at_chance_names_the_order_that_would_fit() -> None:
    labels = drawn(0, 300, 3)
    teacher_outputs = TeacherOutputs(
        torch.nn.functional.one_hot((labels + 1) % 3, 3).float(), ClassOutput(kind="class"), 1.0
    )
    target = TargetColumn("class", 3, labels, labels >= 0)
    with pytest.raises(UserError, match=r"in another order it is right on 100.0%") as caught:
        check_teacher("label", "big", teacher_outputs, target, torch.arange(300), False, lambda event: None)
    assert caught.value.code == "teacher_mismatch"
