"""Figures by class against scikit-learn's, and the order of the classes."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from app.contracts.reports.report import PerClass, Report
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput
from tests.engine.evaluation.cases import seeded, target_of
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.evaluation.metrics.per_class import MAX_CLASSES, per_class
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.verdict.contributions import contributions
from workers.engine.evaluation.verdict.judge import judge

LOGITS = ClassOutput(kind="class")


def saying(predicted: list[int], classes: int) -> PartyOutputs:
    """PartyOutputs whose top classes are these."""
    return PartyOutputs(torch.nn.functional.one_hot(torch.tensor(predicted), classes).float(), LOGITS)


@pytest.fixture
def ten_classes() -> tuple[dict[str, PartyOutputs], Tensor]:
    generator = seeded(3)
    labels = torch.randint(10, (500,), generator=generator)
    parties = {}
    for name, clear in (("teacher", 2.5), ("student", 1.5), ("control", 1.0)):
        logits = torch.randn(500, 10, generator=generator)
        logits[torch.arange(500), labels] += clear
        parties[name] = PartyOutputs(logits, LOGITS)
    return parties, labels


def test_figures_equal_scikit_learns(ten_classes: tuple[dict[str, PartyOutputs], Tensor]) -> None:
    parties, labels = ten_classes
    found = {each.index: each for each in per_class(parties, labels)}
    assert sorted(found) == list(range(10))
    for name, answers in parties.items():
        precision, recall, f1, support = sk.precision_recall_fscore_support(labels, answers.values.argmax(1))
        for c in range(10):
            figures = found[c].parties[name]
            assert figures.precision == pytest.approx(precision[c])
            assert figures.recall == pytest.approx(recall[c])
            assert figures.f1 == pytest.approx(f1[c])
            assert found[c].support == support[c]


def test_the_difference_is_student_minus_teacher_and_the_largest_loss_comes_first(
    ten_classes: tuple[dict[str, PartyOutputs], Tensor],
) -> None:
    parties, labels = ten_classes
    f1 = {name: sk.f1_score(labels, each.values.argmax(1), average=None) for name, each in parties.items()}
    expected = np.sort(f1["student"] - f1["teacher"])
    assert [each.difference for each in per_class(parties, labels)] == pytest.approx(list(expected))


def test_a_class_that_is_gone_leads_the_list() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    parties = {"teacher": saying([0, 0, 0, 1, 1, 1, 2, 2, 2], 3), "student": saying([0, 0, 0, 0, 0, 0, 2, 2, 2], 3)}
    first = per_class(parties, labels)[0]
    assert (first.index, first.support, first.difference) == (1, 3, -1.0)
    assert (first.parties["student"].recall, first.parties["student"].precision) == (0.0, None)
    assert (first.parties["student"].f1, first.parties["teacher"].f1) == (0.0, 1.0)


def test_equal_parties_lose_nothing_and_keep_the_order_of_classes() -> None:
    same = saying([0, 1, 2, 2, 1, 0], 3)
    found = per_class({"teacher": same, "student": same}, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert [each.difference for each in found] == [0.0, 0.0, 0.0]
    assert [each.index for each in found] == [0, 1, 2]


def test_the_mean_f1_is_the_reports_macro_f1(ten_classes: tuple[dict[str, PartyOutputs], Tensor]) -> None:
    """Class 10 is neither given nor predicted: it has no F1, and counts in neither mean."""
    parties, labels = ten_classes
    wider = torch.cat([parties["student"].values, torch.full((500, 1), -9.0)], dim=1)
    found = per_class({"student": PartyOutputs(wider, LOGITS)}, labels)
    known = [each.parties["student"].f1 for each in found if each.parties["student"].f1 is not None]
    assert len(known) == 10
    assert found[-1].index == 10
    expected = task_metrics(wider, LOGITS, target_of(labels, size=11), torch.arange(500))["macro_f1"]
    assert np.mean(known) == pytest.approx(expected)


def test_without_a_teacher_the_weakest_class_comes_first() -> None:
    found = per_class({"student": saying([0, 0, 1, 0], 2)}, torch.tensor([0, 0, 1, 1]))
    assert [each.index for each in found] == [1, 0]
    assert [each.difference for each in found] == [None, None]


def test_each_network_is_read_by_its_kind_of_output(ten_classes: tuple[dict[str, PartyOutputs], Tensor]) -> None:
    parties, labels = ten_classes
    energies = PartyOutputs(-parties["teacher"].values, ClassOutput(kind="class", output="energies"))
    assert per_class({**parties, "teacher": energies}, labels) == per_class(parties, labels)


def test_rows_without_a_label_are_left_out(ten_classes: tuple[dict[str, PartyOutputs], Tensor]) -> None:
    parties, labels = ten_classes
    some = labels.clone()
    some[::3] = -1
    kept = some >= 0
    part = {name: PartyOutputs(each.values[kept], each.spec) for name, each in parties.items()}
    assert per_class(parties, some) == per_class(part, labels[kept])


def test_of_many_classes_those_with_the_largest_loss_are_reported() -> None:
    """Class c has 4 rows in each of 250 classes; the student misses all of every 50th class."""
    labels = torch.arange(1000) // 4
    student = torch.where((labels % 50 == 0) & (labels > 0), 0, labels)
    parties = {"teacher": saying(labels.tolist(), 250), "student": saying(student.tolist(), 250)}
    found = per_class(parties, labels)
    assert len(found) == MAX_CLASSES
    assert [each.index for each in found[:4]] == [50, 100, 150, 200]
    assert found[4].index == 0


def test_classes_carry_the_names_of_the_dataset() -> None:
    named = ClassOutput(kind="class", classes=("cat", "dog"))
    student = PartyOutputs(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), named)
    found = per_class({"student": student}, torch.tensor([0, 1]))
    assert [(each.index, each.name) for each in found] == [(1, "dog"), (0, "cat")]


def test_a_list_without_a_student_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a party named `student`"):
        per_class({"teacher": saying([0], 2)}, torch.tensor([0]))


def test_labels_of_another_kind_are_refused() -> None:
    odds = PartyOutputs(torch.zeros(2, 3), MultilabelOutput(kind="multilabel"))
    with pytest.raises(TypeError, match="expected an output of kind `class`"):
        per_class({"student": odds}, torch.tensor([0, 1]))


def test_a_report_of_an_older_writer_has_no_classes() -> None:
    report = Report.model_validate(
        {
            "kind": "distill",
            "student": {"name": "student"},
            "environment": {"device": "cpu", "threads": 1, "versions": {}, "precision": "float32"},
        }
    )
    assert (report.per_class, report.robustness, report.reliability) == ({}, {}, {})


def test_a_class_survives_json(ten_classes: tuple[dict[str, PartyOutputs], Tensor]) -> None:
    first = per_class(*ten_classes)[0]
    assert PerClass.model_validate_json(first.model_dump_json()) == first


def test_scores_that_float32_log_probabilities_make_equal_have_one_top_class_in_every_figure() -> None:
    """Trap: 0 and 1e-9 have the same log-probability in float32, and class 0 would be the first of two."""
    labels, scores = torch.ones(40, dtype=torch.int64), torch.tensor([[0.0, 1e-9]]).repeat(40, 1)
    (first, *_) = sorted(per_class({"student": PartyOutputs(scores, LOGITS)}, labels), key=lambda each: -each.index)
    assert first.parties["student"].recall == 1.0
    assert contributions(scores, LOGITS, labels).mean() == 1.0
    verdict = judge(scores, scores, LOGITS, target_of(labels), torch.arange(40))
    assert (verdict.student, verdict.control) == (1.0, 1.0)
    assert task_metrics(scores, LOGITS, target_of(labels), torch.arange(40))["accuracy"] == 1.0
