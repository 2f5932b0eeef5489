"""OFA-KD: the formula and its branches against numpy written out, gradients, rows without labels, seeds."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy, log_softmax

from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.distillation import OfaTerm
from tests.engine.losses.formulas import drawn, gradient, softmax
from workers.engine.data.rows.columns import Rows
from workers.engine.losses.features.exits import Exit, Exits
from workers.engine.losses.features.projectors import draw
from workers.engine.losses.logits.kd import class_kd
from workers.engine.losses.logits.ofa import ofa
from workers.engine.losses.soft_target_losses import ClassSoftTargets, exits_of
from workers.engine.losses.teacher_mix import TeacherEnsemble, TeacherOutputs
from workers.engine.losses.term import TermInputs

CPU = torch.device("cpu")
LABELS = torch.tensor([0, 3, -1, 1, -1, 2])
SHAPES: dict[str, tuple[int, ...]] = {"maps": (3, 5, 4), "tokens": (6, 4), "vectors": (7,)}


def soft(teacher: Tensor) -> Tensor:
    return log_softmax(teacher, dim=-1)


# The formula.


@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 3.0])
def test_the_loss_is_the_formula_written_out_less_its_minimum(gamma: float) -> None:
    student, teacher = drawn(6, 4, seed=1), drawn(6, 4, seed=2)
    found = ofa(student, soft(teacher), 1.0, LABELS, gamma)
    ours, theirs = softmax(student), softmax(teacher)
    for n, label in enumerate(LABELS.tolist()):
        weights = [(1.0 + theirs[n, c]) ** gamma if c == label else theirs[n, c] for c in range(4)]
        total = -sum(weights[c] * np.log(ours[n, c]) for c in range(4))
        least = -sum(weight * np.log(weight / sum(weights)) for weight in weights)
        assert float(found[n]) == pytest.approx(total - least, rel=1e-11)


def test_the_best_prediction_loses_nothing_and_any_other_something() -> None:
    """A share for the label in proportion to (1 + p_T)^γ; without a label the teacher's own prediction."""
    teacher = drawn(6, 4, seed=2)
    weights = soft(teacher).exp()
    weights[LABELS == 3] = torch.where(torch.arange(4) == 3, (1.0 + weights) ** 1.5, weights)[LABELS == 3]
    rows = (LABELS == 3) | (LABELS < 0)
    found = ofa(weights.log().requires_grad_(), soft(teacher), 1.0, LABELS, 1.5)
    assert float(found[rows].detach().abs().max()) < 1e-14
    assert bool((found[~rows] > 1e-3).all())


def test_with_an_exponent_of_one_it_is_kd_and_the_cross_entropy_with_the_label() -> None:
    student, teacher = drawn(6, 4, seed=1).requires_grad_(), drawn(6, 4, seed=2)
    labels = LABELS.clamp_min(0)
    found = gradient(ofa(student, soft(teacher), 1.0, labels, 1.0).sum(), student)
    both = class_kd(student, soft(teacher), 1.0).sum() + cross_entropy(student, labels, reduction="sum")
    torch.testing.assert_close(found, gradient(both, student))


def test_the_authors_code_differs_by_the_cross_entropy_and_the_power_of_the_other_classes() -> None:
    """Theirs: −Σ ((p_T + 1[c = t])^γ − 1[c = t]) · log p_S; at γ = 1 the same with the label's cross-entropy added."""
    student, teacher, labels = drawn(6, 4, seed=1).requires_grad_(), drawn(6, 4, seed=2), LABELS.clamp_min(0)
    is_label = torch.nn.functional.one_hot(labels, 4).double()

    def authors(gamma: float) -> Tensor:
        code = -(((soft(teacher).exp() + is_label) ** gamma - is_label) * soft(student)).sum(1)
        return code + cross_entropy(student, labels, reduction="none")

    def same_gradient(gamma: float, expected: Tensor) -> None:
        found = gradient(ofa(student, soft(teacher), 1.0, labels, gamma).sum(), student)
        torch.testing.assert_close(found, gradient(expected.sum(), student))

    same_gradient(1.0, authors(1.0))
    others = (soft(teacher).exp() - soft(teacher).exp() ** 2.0) * soft(student) * (1.0 - is_label)
    same_gradient(2.0, authors(2.0) - others.sum(1))


def test_a_larger_exponent_gives_the_label_more_weight_where_the_teacher_is_sure_of_it() -> None:
    labels = torch.tensor([0, 0])
    teacher = torch.tensor([[6.0, 0.0, 0.0], [-6.0, 0.0, 0.0]], dtype=torch.float64)
    student = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    plain, sharp = (
        gradient(ofa(student, soft(teacher), 1.0, labels, gamma).sum(), student).reshape(2, 3).norm(dim=1)
        for gamma in (1.0, 3.0)
    )
    assert float(sharp[0] / plain[0]) > 2.0
    assert float(sharp[1] / plain[1]) == pytest.approx(1.0, abs=0.02)


def test_a_row_without_a_label_has_kds_loss_whatever_the_exponent() -> None:
    student, teacher = drawn(6, 4, seed=1), drawn(6, 4, seed=2)
    expected = class_kd(student, soft(teacher), 1.0)
    for labels in (None, torch.full((6,), -1)):
        torch.testing.assert_close(ofa(student, soft(teacher), 1.0, labels, 3.0), expected)


def test_the_gradient_is_that_of_the_loss() -> None:
    student, teacher = drawn(6, 4, seed=1).requires_grad_(), drawn(6, 4, seed=2)
    assert gradcheck(lambda s: ofa(s, soft(teacher), 1.0, LABELS, 1.5), student)


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(low: torch.dtype) -> None:
    student, teacher = drawn(6, 4, seed=1).to(low), soft(drawn(6, 4, seed=2).float())
    found = ofa(student, teacher, 1.0, LABELS, 1.5)
    assert found.dtype == torch.float32
    assert torch.equal(found, ofa(student.float(), teacher, 1.0, LABELS, 1.5))


def test_outputs_at_the_edges_give_finite_losses_and_gradients() -> None:
    for student in (torch.zeros(3, 4), torch.tensor([[1e4, -1e4, 0.0, 5.0]] * 3)):
        for teacher in (drawn(3, 4).float(), 1e4 * torch.eye(4)[:3]):
            student.requires_grad_()
            found = ofa(student, soft(teacher), 1.0, LABELS[:3], 1.5)
            assert bool(found.isfinite().all())
            assert bool(gradient(found.sum(), student).isfinite().all())
    assert float(ofa(torch.zeros(0, 4), torch.zeros(0, 4), 1.0, LABELS[:0], 1.5).sum()) == 0.0


# Branches.


def branch(shape: tuple[int, ...]) -> Exit:
    module = Exit(shape, width=5, classes=4)
    draw(module, 0, "exits")
    return module.double()


@pytest.mark.parametrize("kind", SHAPES)
def test_a_branch_is_a_hidden_layer_a_mean_and_a_linear_layer(kind: str) -> None:
    module, layer = branch(SHAPES[kind]), drawn(2, *SHAPES[kind], spread=1.0)
    parameters = {name: value.detach().numpy() for name, value in module.named_parameters()}
    weight, bias = parameters["hidden.weight"], parameters["hidden.bias"]
    found = module(layer).detach().numpy()
    for row, values in enumerate(layer.numpy()):
        if kind == "maps":
            padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
            windows = [padded[:, i : i + 3, j : j + 3] for i in range(5) for j in range(4)]
            places = np.array([(weight * window).sum((1, 2, 3)) + bias for window in windows])
        else:
            places = np.atleast_2d(values) @ weight.T + bias
        hidden = np.maximum(places, 0.0).mean(0)
        expected = parameters["output.weight"] @ hidden + parameters["output.bias"]
        np.testing.assert_allclose(found[row], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4)])
def test_a_layer_of_another_kind_is_refused_by_its_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="found a layer of shape"):
        Exit(shape, 5, 4)


# As a term.


def term_of(labels: Tensor | None = LABELS, seed: int = 0, name: str = "ofa", **settings: Any) -> ClassSoftTargets:
    term = OfaTerm(method="ofa", student_layers=tuple(SHAPES), weight=0.5, width=5, **settings)
    exits = exits_of(term, SHAPES, 4)
    assert exits is not None
    draw(exits, seed, f"exits/{name}")
    teacher = TeacherOutputs(drawn(6, 4, seed=2).float(), ClassOutput(kind="class"), 1.0)
    return ClassSoftTargets.of(term, name, TeacherEnsemble.of((teacher,), CPU), labels, CPU, exits)


def taps(rows: int = 6) -> dict[str, Tensor]:
    return {name: drawn(rows, *shape, seed=9, spread=1.0).float() for name, shape in SHAPES.items()}


def every_row() -> Rows:
    return Rows.on(CPU, torch.arange(6))


def test_a_term_is_the_sum_over_the_output_and_every_branch() -> None:
    term, layers, outputs = term_of(gamma=1.5), taps(), drawn(6, 4, seed=1).float()
    assert isinstance(term.module, Exits)
    teacher = soft(drawn(6, 4, seed=2).float())
    expected = ofa(outputs, teacher, 1.0, LABELS, 1.5)
    for name, module in zip(SHAPES, term.module.branches, strict=True):
        expected = expected + ofa(module(layers[name]), teacher, 1.0, LABELS, 1.5)
    torch.testing.assert_close(term.losses(TermInputs(outputs, layers), every_row()), expected)
    assert term.taps == tuple(SHAPES)


@pytest.mark.parametrize("labels", [LABELS, None])
def test_rows_without_labels_count_too(labels: Tensor | None) -> None:
    term = term_of(labels)
    assert bool(term.counted.all())
    assert bool((term.losses(TermInputs(drawn(6, 4).float(), taps()), every_row()) > 0.0).all())


def test_the_gradient_reaches_output_layers_and_branches() -> None:
    term = term_of()
    layers, outputs = {name: tap.requires_grad_() for name, tap in taps().items()}, drawn(6, 4).float().requires_grad_()
    assert term.module is not None
    reached = [outputs, *layers.values(), *term.module.parameters()]
    loss = term.losses(TermInputs(outputs, layers), every_row()).sum()
    assert all(float(each.abs().max()) > 0.0 for each in torch.autograd.grad(loss, reached))
    assert len(list(term.module.parameters())) == 4 * len(SHAPES)


def weights(module: nn.Module | None) -> dict[str, Tensor]:
    assert module is not None
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def test_weights_are_a_function_of_seed_and_name_and_move_no_other_draw() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = weights(term_of(seed=1).module)
    assert torch.equal(torch.rand(4), expected)
    again = weights(term_of(seed=1).module)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    for other in (weights(term_of(seed=2).module), weights(term_of(seed=1, name="ofa.2").module)):
        assert not any(torch.equal(other[name], value) for name, value in first.items())
