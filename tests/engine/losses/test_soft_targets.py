"""Soft targets against closed forms, with the errors of the article corrected."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div, log_softmax

from app.contracts.problems import UserError
from app.contracts.resources.manifests import (
    ClassOutput,
    ClassTarget,
    DatasetManifest,
    MultilabelOutput,
    ValueOutput,
    VectorOutput,
)
from tests.engine.losses.small_terms import (
    LOGITS,
    gradient,
    kd_term,
    numbers_term,
    places,
    scores,
    sigmoid,
    softmax,
    supervised,
)
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.labels.columns import class_column
from workers.engine.data.reading import read_dataset
from workers.engine.losses.label_losses import class_loss, multilabel_loss, squared_loss
from workers.engine.losses.logits.kd import class_kd, multilabel_kd
from workers.engine.losses.regression.mse import number_mse
from workers.engine.losses.softmax import bernoulli_log_probabilities, log_probabilities
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.losses.term import TermInputs

PROBABILITIES = ClassOutput(kind="class", output="probabilities")
LOG_PROBABILITIES = ClassOutput(kind="class", output="log_probabilities")
ENERGIES = ClassOutput(kind="class", output="energies")
LABELS = MultilabelOutput(kind="multilabel")
temperatures = pytest.mark.parametrize("tau", [0.5, 1.0, 4.0, 20.0])


@temperatures
def test_logits_are_softened_by_softmax_of_z_over_tau(tau: float) -> None:
    z = scores(9, 5)
    np.testing.assert_allclose(log_probabilities(z, LOGITS, tau).exp(), softmax(z / tau), atol=1e-12)


@temperatures
def test_energies_are_softened_by_the_articles_formula_normalised(tau: float) -> None:
    """The article's y_soft = 1/τ · exp(-y/τ) sums to no 1, and its sign is that of an energy."""
    energies = scores(9, 5)
    article = np.exp(-energies.numpy() / tau) / tau
    assert not np.allclose(article.sum(1), 1.0)
    soft = log_probabilities(energies, ENERGIES, tau).exp()
    np.testing.assert_allclose(soft, article / article.sum(1, keepdims=True), atol=1e-12)
    assert torch.equal(soft.argmax(1), energies.argmin(1)), "the lowest energy is the likeliest class"


@temperatures
def test_probabilities_are_softened_as_the_logits_that_they_come_from(tau: float) -> None:
    z = scores(9, 5)
    from_logits = log_probabilities(z, LOGITS, tau)
    torch.testing.assert_close(log_probabilities(torch.softmax(z, 1), PROBABILITIES, tau), from_logits)
    torch.testing.assert_close(log_probabilities(torch.log_softmax(z, 1), LOG_PROBABILITIES, tau), from_logits)
    torch.testing.assert_close(log_probabilities(-z + 7.0, ENERGIES, tau), from_logits)


@temperatures
def test_kd_is_tau_squared_times_the_kl_divergence_batchmean(tau: float) -> None:
    """Scale: τ² and `batchmean`; against a sum written out, and against torch's own kl_div."""
    student, teacher = scores(11, 6, seed=1), scores(11, 6, seed=2)
    found = kd_term(teacher, tau=tau).losses(TermInputs(student), places(11)).mean()
    p, q = softmax(teacher / tau), softmax(student / tau)
    written = tau**2 * sum(p[n, c] * np.log(p[n, c] / q[n, c]) for n in range(11) for c in range(6)) / 11
    assert float(found) == pytest.approx(written, abs=1e-12 * tau**2)
    logs = log_softmax(student / tau, 1), log_softmax(teacher / tau, 1)
    torch.testing.assert_close(found, tau**2 * kl_div(*logs, reduction="batchmean", log_target=True))


@temperatures
def test_the_gradient_of_kd_is_tau_times_the_difference_of_probabilities(tau: float) -> None:
    """d/dz [τ²·KL/N] = τ·(p_S - p_T)/N: without τ² it would vanish as 1/τ."""
    student, teacher = scores(11, 6, seed=1).requires_grad_(), scores(11, 6, seed=2)
    found = gradient(kd_term(teacher, tau=tau).losses(TermInputs(student), places(11)).sum() / 11, student)
    expected = tau * (softmax(student.detach() / tau) - softmax(teacher / tau)) / 11
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_kd_is_never_negative_and_zero_where_student_and_teacher_differ_by_a_constant() -> None:
    """The article's cross-entropy with log-probabilities as its target is negative: wrong in sign and scale."""
    student, teacher = scores(300, 6, seed=1), scores(300, 6, seed=2)
    article = cross_entropy(student, log_softmax(teacher / 4.0, 1))
    losses = kd_term(teacher).losses(TermInputs(student), places(300))
    assert float(article) < 0.0
    assert bool((losses > 0.0).all())
    assert float(kd_term(teacher).losses(TermInputs(teacher + 5.0), places(300)).abs().max()) < 1e-12


def test_float64_stays_float64() -> None:
    """At τ = 20 float32 errs by 1e-6 and more; float64 agrees with the closed form to 1e-12."""
    student, teacher = scores(50, 10, seed=1, spread=0.1), scores(50, 10, seed=2, spread=0.1)
    found = class_kd(student, log_probabilities(teacher, LOGITS, 20.0), 20.0)
    p, q = softmax(teacher / 20.0), softmax(student / 20.0)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, 400.0 * (p * np.log(p / q)).sum(1), atol=1e-12)


def losses_of(x: Tensor) -> dict[str, Tensor]:
    """Every loss of the student's outputs x [5, 4]."""
    soft = log_probabilities(scores(5, 4).float(), LOGITS, 2.0)
    yes, no = bernoulli_log_probabilities(scores(5, 4).float(), 2.0)
    return {
        "kd": class_kd(x, soft, 2.0),
        "multilabel kd": multilabel_kd(x, yes, no, 2.0),
        "mse": number_mse(x, scores(5, 4).float()),
        "class": class_loss(x, torch.tensor([0, 1, 2, 3, -1]), 0.1),
        "multilabel": multilabel_loss(x, (scores(5, 4) > 0).float()),
        "squared": squared_loss(x, scores(5, 4).float()),
        "softening": log_probabilities(x, PROBABILITIES, 2.0),
    }


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(low: torch.dtype) -> None:
    x = scores(5, 4, seed=3).abs().to(low)
    exact = losses_of(x.float())
    for name, found in losses_of(x).items():
        assert found.dtype == torch.float32, name
        assert torch.equal(found, exact[name]), name


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64])
def test_probabilities_of_exactly_zero_are_floored(kind: torch.dtype) -> None:
    """An epsilon of 1e-8 is 0 in half precision. A one-hot teacher at τ = 1 is the cross-entropy with its class."""
    student = scores(3, 4).requires_grad_()
    hot = torch.eye(4)[[0, 2, 3]].to(kind)
    losses = kd_term(hot, specs=[PROBABILITIES], tau=1.0).losses(TermInputs(student), places(3))
    torch.testing.assert_close(losses, cross_entropy(student, torch.tensor([0, 2, 3]), reduction="none").double())
    softened = kd_term(hot, specs=[PROBABILITIES], tau=4.0).losses(TermInputs(student), places(3))
    assert bool(softened.isfinite().all())
    assert bool(gradient(softened.sum(), student).isfinite().all())


def test_logits_far_apart_stay_finite() -> None:
    """log_softmax, never log(softmax), which is -inf here."""
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    losses = kd_term(torch.tensor([[-1e4, 1e4, 0.0]]), tau=1.0).losses(TermInputs(student), places(1))
    assert losses.tolist() == [2e4]
    torch.testing.assert_close(gradient(losses.sum(), student), torch.tensor([[1.0, -1.0, 0.0]]))


def test_labels_in_a_column_of_one_are_class_labels(tmp_path: Path) -> None:
    """The article's labels of shape (100, 1) make CrossEntropyLoss raise; class targets are (N,)."""
    labels = np.random.default_rng(0).integers(0, 10, size=(100, 1))
    np.savez(tmp_path / "data.npz", x=np.ones((100, 3), np.float32), y=labels)
    manifest_fields = {"name": "article", "format": "npz", "inputs": {"x": {"kind": "array"}}}
    manifest = json.dumps(manifest_fields | {"targets": {"y": {"kind": "class", "classes": 10}}})
    target = read_dataset(tmp_path / "data.npz", DatasetManifest.model_validate_json(manifest)).targets["y"]
    assert target.values.tolist() == labels[:, 0].tolist()
    student = scores(100, 10).float()
    assert float(class_loss(student, target.values).mean()) == pytest.approx(
        -np.mean(np.log(softmax(student))[np.arange(100), labels[:, 0]]), rel=1e-6
    )


def test_named_labels_in_a_column_of_one_are_class_labels_and_four_columns_are_none() -> None:
    target = ClassTarget(kind="class", classes=("cat", "dog"))
    assert class_column("y", target, np.array([["dog"], ["cat"], [""]])).values.tolist() == [1, 0, -1]
    with pytest.raises(UserError) as caught:
        class_column("y", target, np.zeros((3, 4), np.int64))
    assert caught.value.code == "shape_mismatch"


def test_several_teachers_are_softened_first_and_averaged_then() -> None:
    """Whatever each of them puts out; the softmax of their mean logits is another distribution."""
    a, b, c = scores(8, 5, seed=1), scores(8, 5, seed=2), scores(8, 5, seed=3)
    student = scores(8, 5, seed=4)
    term = kd_term(a, torch.softmax(b, 1), -c, specs=[LOGITS, PROBABILITIES, ENERGIES], weights=[3.0, 2.0, 1.0])
    p = (3.0 * softmax(a / 4.0) + 2.0 * softmax(b / 4.0) + 1.0 * softmax(c / 4.0)) / 6.0
    log_q = np.log(softmax(student / 4.0))
    found = term.losses(TermInputs(student), places(8))
    np.testing.assert_allclose(found, 16.0 * (p * (np.log(p) - log_q)).sum(1), rtol=1e-5)
    averaged = softmax((3.0 * a + 2.0 * b + c) / 6.0 / 4.0)
    assert not np.allclose(found, 16.0 * (averaged * (np.log(averaged) - log_q)).sum(1), rtol=1e-2)


def test_where_a_teacher_has_no_outputs_the_others_share_its_weight() -> None:
    """Rows: both teach, only the second, only the first, neither; the last counts nothing and gives 0, not NaN."""
    a, b = scores(4, 3, seed=1), scores(4, 3, seed=2)
    student = scores(4, 3, seed=3).requires_grad_()
    a[[1, 3]], b[[2, 3]] = torch.nan, torch.nan
    term = kd_term(a, b, weights=[0.7, 0.3], tau=2.0)
    losses = term.losses(TermInputs(student), places(4))
    soft = [softmax(a / 2.0), softmax(b / 2.0)]
    p = np.stack([0.7 * soft[0][0] + 0.3 * soft[1][0], soft[1][1], soft[0][2]])
    log_q = np.log(softmax(student.detach()[:3] / 2.0))
    np.testing.assert_allclose(losses[:3].detach(), 4.0 * (p * (np.log(p) - log_q)).sum(1), rtol=1e-5)
    assert term.counted.tolist() == [True, True, True, False]
    assert losses.tolist()[3] == 0.0
    found = gradient(losses.sum(), student)
    np.testing.assert_allclose(found[:3], 2.0 * (np.exp(log_q) - p), rtol=1e-5, atol=1e-7)
    assert torch.equal(found[3], torch.zeros(3, dtype=torch.float64))


def test_a_teacher_of_weight_zero_teaches_nothing_even_alone() -> None:
    a, b = scores(2, 3, seed=1), scores(2, 3, seed=2)
    a[1] = torch.nan
    term = kd_term(a, b, weights=[1.0, 0.0])
    assert term.counted.tolist() == [True, False]
    student = scores(2, 3, seed=3)
    alone = kd_term(a[:1]).losses(TermInputs(student[:1]), places(1))
    torch.testing.assert_close(
        term.losses(TermInputs(student), places(2)), torch.stack([alone[0], alone[0] * 0]), rtol=1e-6, atol=0
    )


@temperatures
def test_multilabel_kd_is_averaged_over_labels(tau: float) -> None:
    """Sum of Bernoulli divergences over labels divided by their number; gradient τ·(σ_S - σ_T)/(N·L)."""
    student, teacher = scores(7, 40, seed=1).requires_grad_(), scores(7, 40, seed=2)
    losses = kd_term(teacher, specs=[LABELS], tau=tau).losses(TermInputs(student), places(7))
    p, q = sigmoid(teacher / tau), sigmoid(student.detach() / tau)
    written = p * np.log(p / q) + (1.0 - p) * np.log((1.0 - p) / (1.0 - q))
    np.testing.assert_allclose(losses.detach(), tau**2 * written.mean(1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradient(losses.mean(), student), tau * (q - p) / (7 * 40), atol=1e-12)


def test_multilabel_kd_of_a_certain_teacher_pulls_as_hard_as_its_labels_would() -> None:
    """`batchmean` over 40 labels would pull 40 times as hard as mean binary cross-entropy. Probabilities 0 and 1."""
    student = scores(7, 40, seed=1, spread=1.0).requires_grad_()
    labels = (scores(7, 40, seed=2) > 0.0).double()
    certain = MultilabelOutput(kind="multilabel", output="probabilities")
    soft = kd_term(labels, specs=[certain], tau=1.0).losses(TermInputs(student), places(7)).mean()
    hard, ours = binary_cross_entropy_with_logits(student, labels), multilabel_loss(student, labels).mean()
    torch.testing.assert_close(soft, hard, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(gradient(soft, student), gradient(hard, student), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(ours, hard)


def test_multilabel_teachers_are_averaged_as_probabilities() -> None:
    a, b, student = scores(6, 4, seed=1), scores(6, 4, seed=2), scores(6, 4, seed=3)
    a[5] = torch.nan
    found = kd_term(a, b, specs=[LABELS, LABELS], weights=[1.0, 3.0], tau=2.0).losses(TermInputs(student), places(6))
    p = np.where(np.isnan(a.numpy()), sigmoid(b / 2.0), 0.25 * sigmoid(a / 2.0) + 0.75 * sigmoid(b / 2.0))
    q = sigmoid(student / 2.0)
    written = p * np.log(p / q) + (1.0 - p) * np.log((1.0 - p) / (1.0 - q))
    np.testing.assert_allclose(found, 4.0 * written.mean(1), rtol=1e-5)


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_value_mse_is_in_the_students_standardised_units(unit: float) -> None:
    """Teachers with standardisations of their own, the second silent on row 2; the data's unit changes nothing."""
    own = ValueOutput(kind="value", mean=10.0 * unit, std=2.0 * unit)
    a, b = torch.tensor([[0.0], [1.0], [-1.0]]), torch.tensor([[8.0], [13.0], [torch.nan]]) * unit
    all_outputs = (TeacherOutputs(a, own, 3.0), TeacherOutputs(b, ValueOutput(kind="value"), 1.0))
    term = numbers_term(all_outputs, ValueOutput(kind="value", mean=9.0 * unit, std=4.0 * unit))
    student = torch.tensor([[0.5], [0.0], [1.0]], requires_grad=True)
    teacher_mean = np.array([(3.0 * 10.0 + 8.0) / 4.0, (3.0 * 12.0 + 13.0) / 4.0, 8.0])
    apart = student.detach().numpy()[:, 0] - (teacher_mean - 9.0) / 4.0
    losses = term.losses(TermInputs(student), places(3))
    np.testing.assert_allclose(losses.detach(), apart**2, rtol=1e-5)
    np.testing.assert_allclose(gradient(losses.mean(), student)[:, 0], 2.0 * apart / 3.0, rtol=1e-5)


def test_labels_and_teachers_with_the_same_number_pull_alike() -> None:
    """The supervised loss of values is in the same standardised units as the teacher's, so that weights compare."""
    numbers, spec = scores(6, 1, spread=900.0), ValueOutput(kind="value", mean=-50.0, std=900.0)
    labels = supervised(TargetColumn("value", 1, numbers[:, 0], torch.ones(6, dtype=torch.bool)), spec)
    teacher = numbers_term((TeacherOutputs(numbers, ValueOutput(kind="value"), 1.0),), spec)
    student = scores(6, 1, seed=2)
    expected = (student - (numbers + 50.0) / 900.0).square()[:, 0]
    torch.testing.assert_close(labels.losses(TermInputs(student), places(6)), expected)
    torch.testing.assert_close(teacher.losses(TermInputs(student), places(6)), expected)


def test_vector_mse_is_the_mean_over_numbers_and_silent_rows_give_zero() -> None:
    teacher, student = scores(4, 5, seed=1), scores(4, 5, seed=2).requires_grad_()
    teacher[2, 3] = torch.nan
    spec = VectorOutput(kind="vector")
    term = numbers_term((TeacherOutputs(teacher, spec, 0.5),), spec)
    losses = term.losses(TermInputs(student), places(4))
    apart = (student.detach() - teacher).square().mean(1).nan_to_num(0.0)
    torch.testing.assert_close(losses.detach(), apart)
    assert term.counted.tolist() == [True, True, False, True]
    assert float(gradient(losses.sum(), student)[2].abs().max()) == 0.0
