"""Criteria on curves of validation losses, relative to that of a constant prediction."""

import json
from math import exp, inf, nan

import pytest
import torch

from tests.engine.evaluation.cases import target_of
from workers.engine.evaluation.metrics.task_metrics import Metrics
from workers.engine.evaluation.warnings.curves import is_overfitting, is_still_improving, late_gain
from workers.engine.evaluation.warnings.history import History, Point, constant_loss, label_losses, relative

Curve = list[tuple[int, float]]
SETTLED = [0.2 + 0.8 * exp(-i / 2) for i in range(20)]
FALLING = [1.0 - 0.03 * i for i in range(20)]


def curve(losses: list[float]) -> Curve:
    return [(50 * (i + 1), loss) for i, loss in enumerate(losses)]


def ending(*last: float) -> Curve:
    """Falls to 0.2 within 15 evaluations, then has these losses."""
    return curve([*(1.0 - 0.8 * (i + 1) / 15 for i in range(15)), *last])


@pytest.mark.parametrize(
    ("losses", "at_zero", "at_constant_rate"),
    [
        (curve(FALLING), True, True),
        (ending(0.2, 0.2, 0.19, 0.19, 0.18), True, True),  # 0.02 of 0.82
        (ending(0.2, 0.2, 0.195, 0.194, 0.19), True, False),  # 0.012 of 0.81
        (ending(0.2, 0.2, 0.2, 0.199, 0.198), False, False),  # 0.0025 of 0.802
        (curve(SETTLED), False, False),
        (ending(0.1, 0.12, 0.12, 0.12, 0.12), False, False),  # lowest at 80 % of the steps
        (curve(FALLING[:7]), False, False),  # too few to see a trend
        (curve([1.2 - 0.005 * i for i in range(20)]), False, False),  # worse than a constant: nothing was learned
        ([], False, False),
    ],
)
def test_a_curve_that_still_falls_at_the_end_is_found(losses: Curve, at_zero: bool, at_constant_rate: bool) -> None:
    assert is_still_improving(losses, ends_at_zero=True) == at_zero
    assert is_still_improving(losses, ends_at_zero=False) == at_constant_rate


def test_the_late_gain_is_the_share_of_what_was_learned() -> None:
    assert late_gain(ending(0.2, 0.2, 0.19, 0.19, 0.18)) == pytest.approx(0.02 / 0.82)
    assert late_gain(ending(0.2, 0.2, 0.2, 0.2, 0.4)) == pytest.approx(-0.2 / 0.8)


@pytest.mark.parametrize(
    ("losses", "train", "found"),
    [
        (ending(0.25, 0.3, 0.35, 0.4, 0.45), 0.05, True),
        (ending(0.25, 0.3, 0.35, 0.4, 0.45), 0.4, False),  # rises on training rows as well: it diverges
        (ending(0.22, 0.22, 0.23, 0.23, 0.23), 0.001, False),  # a rise of 0.03 of 0.8
        (curve(SETTLED), 0.001, False),
        (ending(0.25, 0.3, 0.35, 0.4, 0.45), None, False),
        (curve([1.1, 1.2, 1.3] * 5), 0.01, True),  # validation rows were never learned
        (curve([1.1, 1.2, 1.3] * 5), 0.9, False),  # nor were training rows
        (ending(0.25, 0.3, 0.35, 0.4, 0.45)[-7:], 0.05, False),  # too few to see a trend
    ],
)
def test_a_loss_that_rises_again_while_training_rows_are_learned_by_heart_is_found(
    losses: Curve, train: float | None, found: bool
) -> None:
    assert is_overfitting(losses, train) == found


def test_losses_of_tasks_are_averaged_relative_to_their_constant_predictions() -> None:
    points = (Point(1, 0.5, {"a": 2.0, "b": 10.0}), Point(2, None, {"a": 1.0}), Point(3, 0.5, {"a": 1.0, "b": 5.0}))
    history = History(points, {"a": 0.5, "b": nan})
    assert history.curve({"a": 2.0, "b": 10.0}) == [(1, 1.0), (3, 0.5)]
    assert History(points).curve({"a": 2.0}) == [(1, 1.0), (2, 0.5), (3, 0.5)]
    assert relative({"a": inf}, {"a": 1.0}) is None
    assert relative({}, {}) is None


def test_a_history_is_the_same_after_a_file() -> None:
    history = History((Point(1, 0.1 + 0.2, {"a": 1 / 3}), Point(2, None, {})), {"a": 2 / 3})
    assert History.of(json.loads(json.dumps(history.document()))) == history
    assert History.of(None) == History()


def test_the_loss_on_labels_is_nll_or_the_squared_error() -> None:
    metrics: dict[str, Metrics] = {
        "c": {"nll": 0.5, "accuracy": 0.1},
        "l": {"nll": 0.2},
        "v": {"rmse": 3.0},
        "n": {"nll": None},
    }
    found = label_losses(metrics, {"c": "class", "l": "multilabel", "v": "value", "n": "class"})
    assert found == {"c": 0.5, "l": 0.2, "v": 9.0}


def test_the_constant_prediction_is_that_of_the_training_rows() -> None:
    train, rows = torch.arange(4), torch.arange(4, 6)
    classes = target_of(torch.tensor([0, 0, 1, -1, 1, -1]))
    assert constant_loss(classes, "class", train, rows) == pytest.approx(-torch.tensor(2 / 5).log().item())
    values = target_of(torch.tensor([1.0, 3.0, nan, nan, 5.0, nan]), "value", 1)
    assert constant_loss(values, "value", train, rows) == 9.0
    labels = target_of(
        torch.tensor([[1.0, nan], [0.0, 1.0], [1.0, nan], [1.0, nan], [1.0, 0.0], [nan, nan]]), "multilabel"
    )
    expected = -(torch.tensor(4 / 6).log() + torch.tensor(1 / 3).log()) / 2
    assert constant_loss(labels, "multilabel", train, rows) == pytest.approx(expected.item())
    assert constant_loss(classes, "class", train, torch.tensor([5])) is None
    assert constant_loss(classes, "class", torch.tensor([3]), rows) is None
