"""Bins of confidence: against a loop over rows, and in agreement with the calibration error."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, ValueOutput
from tests.engine.evaluation.cases import seeded, target_of
from workers.engine.evaluation.metrics.reliability import reliability
from workers.engine.evaluation.metrics.task_metrics import task_metrics

LOGITS = ClassOutput(kind="class")


@pytest.fixture
def ten_classes() -> tuple[Tensor, Tensor]:
    generator = seeded(4)
    labels = torch.randint(10, (700,), generator=generator)
    logits = 2.0 * torch.randn(700, 10, generator=generator)
    logits[torch.arange(700), labels] += 2.0
    return logits, labels


def test_bins_are_those_of_a_loop_over_rows(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(logits.double().softmax(1).tolist(), labels.tolist(), strict=True):
        bins[int(max(row) * 15)].append((max(row), row.index(max(row)) == label))
    found = reliability(logits, LOGITS, labels)
    assert [each.count for each in found] == [len(rows) for rows in bins]
    for each, rows in zip(found, bins, strict=True):
        if rows:
            assert each.confidence == pytest.approx(sum(sure for sure, _ in rows) / len(rows), abs=1e-6)
            assert each.accuracy == pytest.approx(sum(right for _, right in rows) / len(rows))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_calibration_error_follows_from_them(scale: float, ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    expected = task_metrics(scale * logits, LOGITS, target_of(labels, size=10), torch.arange(700))["ece"]
    bins = reliability(scale * logits, LOGITS, labels)
    gaps = [
        each.count / 700 * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    ]
    assert math.fsum(gaps) == pytest.approx(expected, abs=1e-6)


def test_bins_lie_side_by_side_from_0_to_1_and_hold_every_row(ten_classes: tuple[Tensor, Tensor]) -> None:
    found = reliability(*ten_classes[:1], LOGITS, ten_classes[1], bins=7)
    assert (len(found), found[0].low, found[-1].high) == (7, 0.0, 1.0)
    assert [each.high for each in found[:-1]] == [each.low for each in found[1:]]
    assert sum(each.count for each in found) == 700


def test_certainty_belongs_to_the_last_bin() -> None:
    found = reliability(torch.tensor([[1000.0, 0.0], [1000.0, 0.0]]), LOGITS, torch.tensor([0, 1]))
    assert found[-1].count == 2
    assert found[-1].accuracy == 0.5
    assert found[-1].confidence == pytest.approx(1.0)


def test_the_lower_end_of_a_range_belongs_to_it() -> None:
    found = reliability(torch.zeros(3, 2), LOGITS, torch.tensor([0, 1, 1]), bins=4)
    assert [(each.low, each.count) for each in found] == [(0.0, 0), (0.25, 0), (0.5, 3), (0.75, 0)]


def test_an_empty_bin_has_neither_accuracy_nor_confidence() -> None:
    found = reliability(torch.tensor([[0.0, 0.0]]), LOGITS, torch.tensor([0]))
    empty = [each for each in found if each.count == 0]
    assert len(empty) == 14
    assert {(each.accuracy, each.confidence) for each in empty} == {(None, None)}


def test_rows_without_a_label_are_left_out(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    some = labels.clone()
    some[::2] = -1
    assert reliability(logits, LOGITS, some) == reliability(logits[1::2], LOGITS, labels[1::2])
    assert sum(each.count for each in reliability(logits, LOGITS, torch.full_like(labels, -1))) == 0


def test_every_way_to_say_scores_gives_the_same_bins(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    energies = reliability(-logits, ClassOutput(kind="class", output="energies"), labels)
    assert energies == reliability(logits, LOGITS, labels)


def test_values_have_no_confidence() -> None:
    with pytest.raises(TypeError, match="expected an output of kind `class`"):
        reliability(torch.zeros(2, 1), ValueOutput(kind="value"), torch.tensor([0, 0]))
