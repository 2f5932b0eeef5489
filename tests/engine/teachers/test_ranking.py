"""Scores that rank the labels, although the likeliest class is never the rare one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.engine.teachers.test_assessment import drawn, found, outputs, target
from workers.engine.data.dataset import TargetColumn
from workers.engine.teachers.agreement import area_under_curve
from workers.engine.teachers.ranking import ranking_of
from workers.engine.teachers.sanity_check import score

N = 1400


def rare(seed: int, offset: float = -4.2) -> tuple[Tensor, Tensor]:
    """(true probabilities [N, 2] of a rare class, labels drawn from them)."""
    p = torch.sigmoid(1.3 * drawn(seed, N) + offset)
    uniform = torch.rand(N, generator=torch.Generator().manual_seed(seed + 1000), dtype=torch.float64)
    return torch.stack([1.0 - p, p], dim=1), (uniform < p).long()


def two(labels: Tensor, classes: int = 2) -> TargetColumn:
    return TargetColumn("class", classes, labels, labels >= 0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("output", ["probabilities", "logits", "energies"])
def test_true_posteriors_of_a_rare_class_pass_without_a_warning(seed: int, output: str) -> None:
    p, labels = rare(seed)
    assert float(p[:, 1].max()) < 0.5
    values = {"probabilities": p, "logits": p.log(), "energies": -p.log()}[output]
    assert found(outputs("class", values, output=output), two(labels), N) == ("", [])


def test_one_that_was_trained_on_balanced_rows_passes_with_a_warning() -> None:
    p, labels = rare(0)
    odds = (p[:, 1] / p[:, 0]).log() + 3.0
    teacher = outputs("class", torch.stack([torch.zeros_like(odds), odds], dim=1))
    assert found(teacher, two(labels), N) == ("", ["teacher_weak"])
    shy = outputs("class", torch.stack([torch.zeros_like(odds), odds - 8.0], dim=1))
    assert found(shy, two(labels), N) == ("", ["teacher_weak"])


def test_a_class_too_rare_for_accuracy_is_compared_by_the_ranking() -> None:
    """Four rows in a thousand: even a perfect accuracy would not be told from that of the commonest class."""
    p, labels = rare(1, offset=-6.8)
    assert 4 <= int(labels.sum()) < 12
    sure = torch.where(labels[:, None] == 1, torch.tensor([0.6, 0.4]), p.float())
    assert found(outputs("class", sure, output="probabilities"), two(labels), N) == ("", [])


@pytest.mark.parametrize("seed", range(20))
def test_one_that_knows_nothing_of_a_rare_class_is_refused(seed: int) -> None:
    _, labels = rare(seed)
    other, _ = rare(seed + 500)
    message, _ = found(outputs("class", other, output="probabilities"), two(labels), N)
    assert "area under the ROC curve" in message


def test_reversed_and_constant_ones_are_refused() -> None:
    p, labels = rare(0)
    assert "chance level" in found(outputs("class", p.flip(1), output="probabilities"), two(labels), N)[0]
    constant = p.mean(0).repeat(N, 1)
    assert "chance level" in found(outputs("class", constant, output="probabilities"), two(labels), N)[0]


def test_one_of_balanced_classes_that_always_says_the_same_is_refused_whatever_it_ranks() -> None:
    """Rows in other units: what the teacher says hardly depends on them."""
    labels = torch.randint(0, 3, (400,), generator=torch.Generator().manual_seed(0))
    faint = 0.01 * torch.nn.functional.one_hot(labels, 3) + 0.01 * drawn(3, 400, 3) + torch.tensor([3.0, 0.0, 0.0])
    assert "chance level" in found(outputs("class", faint), target("class", labels))[0]


def test_another_order_of_neighbouring_classes_is_refused_although_it_ranks() -> None:
    """Trap: classes in order, as of ages, counted from 1: a row's class is beside the one that the teacher means."""
    ages = torch.arange(10).repeat(100)
    near = -(ages[:, None] + 1 - torch.arange(10)).abs().double() * 2.0
    near[ages == 9] = -(torch.arange(10)).double() * 2.0
    teacher = outputs("class", near)
    result = score(teacher, two(ages, 10), torch.arange(1000))
    assert result is not None
    assert result.ranking is not None
    assert result.ranking.knows
    assert "in another order it is right on 100.0%" in found(teacher, two(ages, 10), 1000)[0]


def test_the_area_of_two_classes_and_its_error_are_mann_and_whitneys() -> None:
    p, labels = rare(0)
    result = ranking_of(p.log(), labels)
    assert result is not None
    positive = (labels == 1).numpy()
    assert result.area == pytest.approx(area_under_curve(p[:, 1].numpy(), positive))
    n, m = int(positive.sum()), int((~positive).sum())
    assert result.chance == pytest.approx(0.5 + 3.0 * ((n + m + 1) / (12 * n * m)) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_error_is_that_of_permuted_labels(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(80, classes, generator=generator).round(decimals=1).double() * 3.0
    labels = torch.randint(0, classes, (80,), generator=generator) * (torch.arange(80) % 3 > 0)
    result = ranking_of(scores, labels)
    assert result is not None
    permuted = [ranking_of(scores, labels[torch.randperm(80, generator=generator)]) for _ in range(3000)]
    areas = [each.area for each in permuted if each is not None]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.01)
    assert (result.chance - 0.5) / 3.0 == pytest.approx(np.std(areas), rel=0.06)


def test_labels_of_one_class_have_no_ranking() -> None:
    assert ranking_of(torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)) is None


def test_scores_are_normalised_before_they_are_ranked() -> None:
    """A constant that is added to all scores of a row changes nothing."""
    p, labels = rare(0)
    moved = p.log() + drawn(7, N, 1) * 50.0
    first, second = ranking_of(p.log(), labels), ranking_of(moved, labels)
    assert first is not None
    assert second is not None
    assert second.area == pytest.approx(first.area, abs=1e-3)
