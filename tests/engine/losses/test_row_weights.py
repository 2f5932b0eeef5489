"""Row weights in the terms of a loss: each row's loss times its weight, in training alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import MultilabelOutput, ValueOutput
from tests.engine.losses.small_terms import (
    CPU,
    class_target,
    counts_of,
    gradients,
    kd_term,
    member_of,
    mlp,
    numbers_term,
    places,
    scores,
    supervised,
    task_of,
)
from workers.engine.data.rows.columns import Augmentation, Column, Rows
from workers.engine.data.rows.weights import with_mean_one
from workers.engine.losses.regression_losses import NumberTargets
from workers.engine.losses.soft_target_losses import ClassSoftTargets, LabelSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.losses.term import TermInputs

ROWS, CLASSES = 8, 3
WEIGHTS = with_mean_one("w", torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7], dtype=torch.float64), torch.arange(ROWS))
LABELS = [0, 1, 2, 0, 1, -1, 2, 0]
Weighted = SupervisedLoss | ClassSoftTargets | LabelSoftTargets | NumberTargets


def terms() -> dict[str, Weighted]:
    """A term of each class without weights."""
    teacher = scores(ROWS, CLASSES, 1).float()
    return {
        "labels": supervised(class_target(LABELS, CLASSES)),
        "classes": kd_term(teacher),
        "yes or no": kd_term(teacher, specs=[MultilabelOutput(kind="multilabel")]),
        "numbers": numbers_term((TeacherOutputs(teacher, ValueOutput(kind="value"), 1.0),), ValueOutput(kind="value")),
    }


def with_weights(term: Weighted, weights: Tensor = WEIGHTS) -> Weighted:
    return replace(term, row_weights=Column.on(CPU, weights))


@pytest.mark.parametrize("name", terms())
def test_each_rows_loss_is_multiplied_by_its_weight_in_training_and_not_in_validation(name: str) -> None:
    plain, batch = terms()[name], places([6, 0, 3, 5])
    inputs = TermInputs(scores(4, CLASSES, 2).float())
    losses, expected = with_weights(plain).losses(inputs, batch), plain.losses(inputs, batch)
    torch.testing.assert_close(losses, expected * WEIGHTS[batch.host])
    assert losses[1] == 0.0
    validation = replace(inputs, weighted=False)
    torch.testing.assert_close(with_weights(plain).losses(validation, batch), expected)


def test_a_weighted_mean_over_all_rows_is_that_of_repeated_rows() -> None:
    """Weights of whole numbers are repetitions: Σ w l / n with weights of mean 1 is the mean over the repeated rows."""
    times = torch.tensor([1, 2, 1, 3, 1, 1, 4, 2])
    target, z = class_target([0, 1, 2, 0, 1, 2, 2, 0], CLASSES), scores(ROWS, CLASSES, 2).float()
    weighted = with_weights(supervised(target), with_mean_one("w", times.double(), torch.arange(ROWS)))
    again = torch.arange(ROWS).repeat_interleave(times)
    expected = supervised(target).losses(TermInputs(z[again]), Rows.on(CPU, again)).mean()
    torch.testing.assert_close(weighted.losses(TermInputs(z), places(ROWS)).mean(), expected)


@pytest.mark.parametrize("micro", [1, 3])
def test_micro_batches_give_the_gradient_of_the_weighted_batch(micro: int) -> None:
    x = scores(ROWS, 5, 3, 1.0).float()
    task = task_of(with_weights(terms()["labels"]), with_weights(terms()["classes"]))
    found = [gradients(member_of(mlp(5, CLASSES), task), x, places(ROWS), size) for size in (ROWS, micro)]
    assert counts_of(task, places(ROWS)) == [[7, 8]]
    for name, whole in found[0].items():
        torch.testing.assert_close(found[1][name], whole, rtol=1e-4, atol=1e-6)


def test_of_a_mixed_row_each_label_has_the_weight_of_its_own_row() -> None:
    shares = torch.tensor([0.25, 0.9])
    rows, partners = places([3, 6]), places([4, 1])
    mixed = replace(rows, augmentation=Augmentation(0, partners, shares))
    inputs, plain = TermInputs(scores(2, CLASSES, 2).float()), terms()["labels"]
    own, others = (plain.losses(inputs, each) * WEIGHTS[each.host] for each in (rows, partners))
    torch.testing.assert_close(with_weights(plain).losses(inputs, mixed), shares * own + (1 - shares) * others)
    kd = terms()["classes"]
    weights = shares * WEIGHTS[rows.host] + (1 - shares) * WEIGHTS[partners.host]
    torch.testing.assert_close(with_weights(kd).losses(inputs, mixed), kd.losses(inputs, mixed) * weights)


def test_weights_have_the_mean_1_over_the_rows_that_count() -> None:
    weights, counted = torch.tensor([1.0, 3.0, 100.0], dtype=torch.float64), torch.tensor([0, 1])
    found = with_mean_one("w", weights, counted)
    np.testing.assert_allclose(found.numpy(), [0.5, 1.5, 50.0])
