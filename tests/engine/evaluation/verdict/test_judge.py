"""Verdicts on constructed cases, and the coverage of their intervals."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.reports.report import Verdict
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.verdict.intervals import bootstrap_interval, newcombe_interval
from workers.engine.evaluation.verdict.judge import CLASS_MARGIN, conclusion, judge, not_applicable

LOGITS = ClassOutput(kind="class")


def class_case(both: int, student_only: int, control_only: int, neither: int) -> Verdict:
    """The verdict where so many test rows are right by both, by one, by none."""
    student = [True] * both + [True] * student_only + [False] * control_only + [False] * neither
    control = [True] * both + [False] * student_only + [True] * control_only + [False] * neither
    labels = torch.zeros(len(student), dtype=torch.int64)
    target = TargetColumn(kind="class", size=2, values=labels, labelled=labels >= 0, classes=None, predicts=None)
    return judge(logits_of(student), logits_of(control), LOGITS, target, torch.arange(len(labels)))


def logits_of(right: list[bool]) -> Tensor:
    """Two classes; class 0 is the label of every row."""
    return torch.tensor([[1.0, 0.0] if yes else [0.0, 1.0] for yes in right])


def test_a_student_that_is_often_alone_right_is_a_provisional_gain() -> None:
    found = class_case(both=800, student_only=80, control_only=20, neither=100)
    assert found.verdict == "provisional_gain"
    assert found.difference == pytest.approx(0.06)
    assert found.student == pytest.approx(0.88)
    assert found.control == pytest.approx(0.82)
    assert found.interval is not None
    assert found.interval[0] > 0.0


def test_a_control_that_is_often_alone_right_is_a_provisional_loss() -> None:
    assert class_case(both=800, student_only=20, control_only=80, neither=100).verdict == "provisional_loss"


def test_many_rows_without_a_difference_are_undecided() -> None:
    found = class_case(both=9000, student_only=100, control_only=100, neither=800)
    assert found.verdict == "undecided"
    assert found.margin == CLASS_MARGIN


def test_few_rows_are_undecided() -> None:
    assert class_case(both=80, student_only=6, control_only=3, neither=11).verdict == "undecided"


def test_equal_predictions_on_few_rows_prove_nothing() -> None:
    """Where no row differs a bootstrap says ±0; five rows cannot exclude a gain."""
    found = class_case(both=4, student_only=0, control_only=0, neither=1)
    assert found.verdict == "undecided"
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] > 0.1


def test_a_real_difference_inside_the_margin_does_not_matter() -> None:
    found = class_case(both=180_000, student_only=500, control_only=100, neither=19_400)
    assert found.interval is not None
    assert 0.0 < found.interval[0] < found.interval[1] < CLASS_MARGIN
    assert found.verdict == "undecided"


def test_the_margin_itself_is_inside() -> None:
    assert conclusion((-0.5, 0.5), margin=0.5) == "no_gain"
    assert conclusion((0.0, 0.0), margin=0.0) == "no_gain"
    assert conclusion((0.1, 0.6), margin=0.5) == "gain"
    assert conclusion((-0.6, -0.1), margin=0.5) == "loss"
    assert conclusion((-0.1, 0.6), margin=0.5) == "inconclusive"


def test_the_method_says_what_the_interval_does_not_cover() -> None:
    method = class_case(both=80, student_only=6, control_only=3, neither=11).method
    assert "Newcombe" in method
    assert "not the noise of training" in method


def test_rows_without_a_label_do_not_judge() -> None:
    labels = torch.tensor([0] * 50 + [-1] * 50)
    target = TargetColumn(kind="class", size=2, values=labels, labelled=labels >= 0, classes=None, predicts=None)
    right = logits_of([True] * 50 + [False] * 50)
    found = judge(right, right, LOGITS, target, torch.arange(100))
    assert (found.student, found.control) == (1.0, 1.0)


def test_without_any_label_it_is_not_applicable() -> None:
    labels = torch.full((10,), -1)
    target = TargetColumn(kind="class", size=2, values=labels, labelled=labels >= 0, classes=None, predicts=None)
    found = judge(logits_of([True] * 10), logits_of([True] * 10), LOGITS, target, torch.arange(10))
    assert found.verdict == "not_applicable"
    assert found.difference is None


def test_not_applicable_says_why() -> None:
    found = not_applicable("the dataset has no test split")
    assert (found.verdict, found.interval) == ("not_applicable", None)
    assert "no test split" in found.method


def value_case(
    student_noise: float, control_noise: float, rows: int, spec: OutputSpec | None = None, seed: int = 0
) -> Verdict:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(rows, generator=generator)
    student = truth + student_noise * torch.randn(rows, generator=generator)
    control = truth + control_noise * torch.randn(rows, generator=generator)
    target = TargetColumn(kind="value", size=1, values=truth, labelled=~truth.isnan(), classes=None, predicts=None)
    return judge(student[:, None], control[:, None], spec or ValueOutput(kind="value"), target, torch.arange(rows))


def test_a_smaller_error_is_a_provisional_gain_and_positive() -> None:
    found = value_case(student_noise=0.5, control_noise=0.8, rows=500)
    assert found.metric == "rmse"
    assert found.verdict == "provisional_gain"
    assert found.difference is not None
    assert found.difference == pytest.approx(0.3, abs=0.08)


def test_a_larger_error_is_a_provisional_loss() -> None:
    assert value_case(student_noise=0.8, control_noise=0.5, rows=500).verdict == "provisional_loss"


def test_equal_errors_of_many_rows_are_undecided() -> None:
    assert value_case(student_noise=0.5, control_noise=0.5, rows=120_000).verdict == "undecided"


def test_equal_errors_of_few_rows_are_undecided() -> None:
    assert value_case(student_noise=0.5, control_noise=0.5, rows=100, seed=1).verdict == "undecided"


def test_too_few_values_get_no_interval() -> None:
    """A bootstrap of one row has width 0 and would call it a gain."""
    found = value_case(student_noise=0.1, control_noise=5.0, rows=1)
    assert (found.verdict, found.interval) == ("undecided", None)


def test_the_value_margin_is_a_hundredth_of_the_controls_error() -> None:
    found = value_case(student_noise=0.5, control_noise=0.5, rows=200)
    assert found.control is not None
    assert found.margin == pytest.approx(0.01 * found.control)


def test_value_verdicts_are_in_own_units() -> None:
    plain = value_case(0.5, 0.8, rows=200)
    truth = torch.randn(200, generator=torch.Generator().manual_seed(0))
    assert plain.student is not None
    target = TargetColumn(
        kind="value", size=1, values=100.0 + 10.0 * truth, labelled=~truth.isnan(), classes=None, predicts=None
    )
    spec = ValueOutput(kind="value", mean=100.0, std=10.0)
    found = judge(truth[:, None] + 0.5, truth[:, None] - 0.8, spec, target, torch.arange(200))
    assert found.student == pytest.approx(5.0, rel=1e-4)
    assert found.control == pytest.approx(8.0, rel=1e-4)


def test_the_same_rows_give_the_same_interval_again() -> None:
    assert value_case(0.5, 0.6, rows=300) == value_case(0.5, 0.6, rows=300)


def test_labels_and_vectors_are_judged_too() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(400, 3, generator=generator) < 0.5).float()
    truth[0, 0] = math.nan
    good = (2.0 * truth.nan_to_num() - 1.0) + 0.5 * torch.randn(400, 3, generator=generator)
    poor = (2.0 * truth.nan_to_num() - 1.0) + 2.0 * torch.randn(400, 3, generator=generator)
    labels = TargetColumn(
        kind="multilabel",
        size=3,
        values=truth,
        labelled=torch.ones(400, dtype=torch.bool),
        classes=None,
        predicts=None,
    )
    rows = torch.arange(400)
    found = judge(good, poor, MultilabelOutput(kind="multilabel"), labels, rows)
    assert (found.verdict, found.metric) == ("provisional_gain", "accuracy")
    vectors = TargetColumn(
        kind="vector",
        size=3,
        values=truth.nan_to_num(),
        labelled=torch.ones(400, dtype=torch.bool),
        classes=None,
        predicts=None,
    )
    found = judge(poor, good, VectorOutput(kind="vector"), vectors, rows)
    assert (found.verdict, found.metric) == ("provisional_loss", "rmse")


def test_newcombes_interval_equals_the_published_example() -> None:
    """36 right by both, 12 and 2 by one alone, none by neither: (0.0569, 0.3404) by method 10 of the paper."""
    right = torch.tensor([True] * 36 + [True] * 12 + [False] * 2)
    other = torch.tensor([True] * 36 + [False] * 12 + [True] * 2)
    low, high = newcombe_interval(right, other, confidence=0.95)
    assert low == pytest.approx(0.0569, abs=1e-4)
    assert high == pytest.approx(0.3404, abs=1e-4)


@pytest.mark.parametrize(("rows", "discordant", "difference"), [(100, 0.1, 0.0), (300, 0.2, 0.1), (1000, 0.05, 0.02)])
def test_the_class_interval_covers_the_truth_in_95_percent(rows: int, discordant: float, difference: float) -> None:
    generator = torch.Generator().manual_seed(7)
    student_only, control_only = (discordant + difference) / 2, (discordant - difference) / 2
    trials, covered = 800, 0
    for draw in torch.rand(trials, rows, generator=generator):
        alone, other_alone = draw < student_only, draw > 1 - control_only
        both = (draw > 0.3) & ~alone & ~other_alone
        low, high = newcombe_interval(alone | both, other_alone | both, confidence=0.95)
        covered += low <= difference <= high
    assert 0.93 <= covered / trials <= 0.985


def test_the_value_interval_covers_the_truth_in_about_95_percent() -> None:
    generator = torch.Generator().manual_seed(11)
    trials, covered = 200, 0
    for _ in range(trials):
        student = 0.5 * torch.randn(200, dtype=torch.float64, generator=generator)
        control = 0.8 * student / 0.5 * 0.6 + 0.64 * torch.randn(200, dtype=torch.float64, generator=generator)
        columns = torch.stack([student.square(), control.square()], dim=1)
        low, high = bootstrap_interval(columns, lambda means: means[:, 1].sqrt() - means[:, 0].sqrt(), confidence=0.95)
        covered += low <= math.sqrt(0.48**2 + 0.64**2) - 0.5 <= high
    assert 0.90 <= covered / trials <= 0.99


def test_grouping_rows_keeps_the_interval() -> None:
    """Above 10 000 rows groups are drawn; the width stays that of the normal approximation."""
    values = torch.randn(50_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3.0
    low, high = bootstrap_interval(values, lambda means: means[:, 0], confidence=0.95)
    half = 1.96 / math.sqrt(50_000)
    assert low == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean().item() + half, abs=0.1 * half)
