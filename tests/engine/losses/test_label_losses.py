"""Losses on labels: class weights, focal and Huber's loss, against torch and their formulas."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.jobs import TaskSpec
from tests.engine.losses.small_terms import CPU
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.label_losses import class_loss, huber_loss, multilabel_loss
from workers.engine.losses.term import TermInputs
from workers.engine.tasks.supervision import class_weights, supervised_loss, weights_by_class

ROWS, CLASSES = 40, 4
LABELS = torch.tensor([0] * 25 + [1] * 10 + [2] * 5)


def logits(rows: int = ROWS, size: int = CLASSES) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(rows, size)) * 3.0)


def target(values: Tensor = LABELS, size: int = CLASSES) -> TargetColumn:
    labelled = values >= 0 if values.ndim == 1 else ~values.isnan().all(1)
    return TargetColumn("class" if values.ndim == 1 else "multilabel", size, values, labelled)


def weighted(weights: object) -> TaskSpec:
    return TaskSpec.model_validate({"name": "y", "class_weights": weights})


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_and_smoothing_are_those_of_torch(smoothing: float) -> None:
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    wanted = nn.CrossEntropyLoss(weights, reduction="none", label_smoothing=smoothing)(logits(), LABELS)
    assert torch.equal(class_loss(logits(), LABELS, smoothing, weights), wanted)


def test_the_training_split_as_one_batch_has_the_weighted_mean_of_torch() -> None:
    weights = torch.tensor([1.0, 9.0, 4.0, 2.0])
    task, every = weighted(tuple(weights.tolist())), torch.arange(ROWS)
    loss = supervised_loss(task, target(), ClassOutput(kind="class"), 1.0, 0.0, every, CPU)
    mean = loss.losses(TermInputs(logits()), Rows.on(CPU, every)).mean()
    wanted = nn.CrossEntropyLoss(weights.double())(logits(), LABELS)
    assert float(mean) == pytest.approx(float(wanted), rel=1e-6)


def test_balanced_weights_are_those_of_scikit_learn_and_a_class_without_rows_weighs_1() -> None:
    weights = class_weights(weighted("balanced"), target(), torch.arange(ROWS))
    assert weights is not None
    assert weights.tolist() == pytest.approx([40 / (3 * 25), 40 / (3 * 10), 40 / (3 * 5), 1.0])


def test_weights_are_of_the_labelled_training_rows_alone_and_have_the_mean_1() -> None:
    values = LABELS.clone()
    values[:20], values[35:] = -1, 0
    train = torch.arange(35)
    for asked in ("balanced", (1.0, 5.0, 0.0, 2.0)):
        weights = class_weights(weighted(asked), target(values), train)
        assert weights is not None
        assert float(weights[values[20:35]].mean()) == pytest.approx(1.0)
        assert float(weights[1] / weights[0]) == pytest.approx(0.5 if asked == "balanced" else 5.0)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_is_its_formula(gamma: float, smoothing: float) -> None:
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    z = logits().numpy()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    q = np.eye(CLASSES)[LABELS.numpy()] * (1 - smoothing) + smoothing / CLASSES
    wanted = -(q * weights.numpy() * (1 - p) ** gamma * np.log(p)).sum(1)
    assert class_loss(logits(), LABELS, smoothing, weights, gamma).numpy() == pytest.approx(wanted, rel=1e-9)


def test_focal_loss_tends_to_cross_entropy() -> None:
    assert torch.allclose(class_loss(logits(), LABELS, 0.1, None, 1e-9), class_loss(logits(), LABELS, 0.1), rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_rows_that_are_certain_or_missing_has_finite_gradients(gamma: float) -> None:
    x = torch.tensor([[200.0, 0.0], [-200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    losses = class_loss(x, torch.tensor([0, 0, -1]), 0.0, None, gamma)
    (gradient,) = torch.autograd.grad(losses.sum(), x)
    assert losses.tolist() == pytest.approx([0.0, 200.0, 0.0])
    assert bool(gradient.isfinite().all())
    labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [torch.nan, torch.nan]])
    losses = multilabel_loss(x, labels, None, gamma)
    (gradient,) = torch.autograd.grad(losses.sum(), x)
    assert bool(gradient.isfinite().all())
    assert losses.tolist()[2] == 0.0


def test_weights_of_labels_are_torchs_pos_weight_at_a_mean_of_1() -> None:
    values = (logits(ROWS, 3) > torch.tensor([2.0, 0.0, -2.0])).float()
    task = weighted((5.0, 1.0, 0.5))
    weights = class_weights(task, target(values, 3), torch.arange(ROWS))
    assert weights is not None
    found = multilabel_loss(logits(ROWS, 3), values, weights).mean()
    counts = torch.stack([1.0 - values, values]).sum(1)
    scale = counts.sum() / (torch.tensor([[1.0] * 3, [5.0, 1.0, 0.5]]) * counts).sum()
    wanted = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([5.0, 1.0, 0.5]))(logits(ROWS, 3).float(), values) * scale
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
    assert weights_by_class(task, target(values, 3), torch.arange(ROWS)) == pytest.approx({"0": 5, "1": 1, "2": 0.5})


def test_balanced_labels_weigh_absent_over_present() -> None:
    values = torch.tensor([[1.0, 0.0, 1.0]] + [[0.0, 0.0, 1.0]] * 3)
    found = weights_by_class(weighted("balanced"), target(values, 3), torch.arange(4))
    assert found == pytest.approx({"0": 3.0, "1": 1.0, "2": 1.0})


def test_focal_loss_of_labels_is_its_formula() -> None:
    z = logits(ROWS, 3)
    labels = (logits(ROWS, 3).flip(0) > 0).double()
    p = z.sigmoid()
    p_true = torch.where(labels > 0.5, p, 1.0 - p)
    wanted = (-((1.0 - p_true) ** 2.0) * p_true.log()).mean(1)
    assert torch.allclose(multilabel_loss(z, labels, None, 2.0), wanted)


def test_huber_loss_on_labels_is_that_of_torch_and_skips_missing_rows() -> None:
    labels = logits(ROWS, 2).flip(0).clone()
    labels[3, 1] = torch.nan
    x = logits(ROWS, 2).requires_grad_()
    losses = huber_loss(x, labels, 0.7)
    wanted = nn.HuberLoss(reduction="none", delta=0.7)(x, labels).mean(1)
    known = torch.arange(ROWS) != 3
    assert torch.allclose(losses[known], wanted[known])
    (gradient,) = torch.autograd.grad(losses.sum(), x)
    assert float(losses[3].detach()) == 0.0
    assert bool(gradient.isfinite().all())
