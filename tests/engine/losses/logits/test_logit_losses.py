"""Losses on logits against formulas written out, values of their authors' code, and the traps by name."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, logsigmoid

from tests.engine.losses.formulas import drawn, fixed, gradient, kl, sigmoid, softmax
from workers.engine.losses.logits.dist import dist
from workers.engine.losses.logits.dkd import dkd
from workers.engine.losses.logits.jsd import jsd
from workers.engine.losses.logits.kd import class_kd
from workers.engine.losses.logits.logit_mse import logit_mse
from workers.engine.losses.logits.multilabel import multilabel_jsd, multilabel_mse, multilabel_reverse_kl
from workers.engine.losses.logits.reverse_kl import reverse_kl
from workers.engine.losses.logits.standardize import standardized

Temperature = float | Tensor
Loss = Callable[[Tensor, Tensor, Temperature], Tensor]

LABELS = torch.tensor([0, 3, 2, 1, 0, 2, 3, 1])
temperatures = pytest.mark.parametrize("tau", [0.5, 1.0, 4.0, 20.0])


def soft(teacher: Tensor, tau: Temperature) -> Tensor:
    return log_softmax(teacher / tau, dim=-1)


def yes_and_no(teacher: Tensor, tau: Temperature) -> tuple[Tensor, Tensor]:
    return logsigmoid(teacher / tau), logsigmoid(-teacher / tau)


SOFTENED: dict[str, Loss] = {
    "dkd": lambda s, t, tau: dkd(s, soft(t, tau), tau, LABELS[: len(s)], 1.5, 8.0),
    "dist": lambda s, t, tau: dist(s, soft(t, tau), tau, 2.0, 0.5),
    "reverse_kl": lambda s, t, tau: reverse_kl(s, soft(t, tau), tau),
    "jsd": lambda s, t, tau: jsd(s, soft(t, tau), tau, 0.3),
    "multilabel_reverse_kl": lambda s, t, tau: multilabel_reverse_kl(s, *yes_and_no(t, tau), tau),
    "multilabel_jsd": lambda s, t, tau: multilabel_jsd(s, *yes_and_no(t, tau), tau, 0.3),
}
"""Every loss with a temperature, of (student [N, 4], teacher's logits [N, 4], τ)."""

LOSSES: dict[str, Loss] = SOFTENED | {
    "logit_mse": lambda s, t, tau: logit_mse(s, soft(t, 1.0)),
    "multilabel_mse": lambda s, t, tau: multilabel_mse(s, *yes_and_no(t, 1.0)),
    "kd of standardized": lambda s, t, tau: class_kd(standardized(s), soft(standardized(t), tau), float(tau)),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
every_softened_loss = pytest.mark.parametrize("name", SOFTENED)


@every_loss
def test_a_student_that_equals_its_teacher_loses_nothing_and_another_does(name: str) -> None:
    """Self-check: ~0, with a gradient of ~0; positive elsewhere."""
    student = drawn(8, 4).requires_grad_()
    losses = LOSSES[name](student, student.detach().clone(), 4.0)
    assert float(losses.detach().abs().max()) < 1e-13
    assert float(gradient(losses.sum(), student).abs().max()) < 1e-12
    assert float(LOSSES[name](student.detach(), drawn(8, 4, seed=1), 4.0).min()) > 1e-2


@every_loss
def test_the_gradient_is_that_of_the_loss(name: str) -> None:
    student, teacher = drawn(8, 4, seed=1).requires_grad_(), drawn(8, 4, seed=2)
    assert gradcheck(lambda s: LOSSES[name](s, teacher, 2.0), student)


@every_softened_loss
def test_a_learned_temperature_gets_its_gradient_through_the_student_and_the_factor(name: str) -> None:
    student, teacher = drawn(8, 4, seed=1), drawn(8, 4, seed=2)
    tau = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda tau: LOSSES[name](student, teacher, tau), tau)
    assert torch.equal(LOSSES[name](student, teacher, tau.detach()), LOSSES[name](student, teacher, 2.0))


@every_softened_loss
def test_tau_squared_keeps_the_size_of_the_gradient(name: str) -> None:
    """As τ grows logits count less by 1/τ² in every divergence. Pearson's ρ is free of scale: DIST's gradient goes on
    growing as τ², as its authors have it.
    """
    student, teacher = drawn(8, 4, seed=1).requires_grad_(), drawn(8, 4, seed=2)
    sizes = [float(gradient(LOSSES[name](student, teacher, tau).sum(), student).norm()) for tau in (100.0, 1000.0)]
    assert sizes[1] / sizes[0] == pytest.approx(100.0 if name == "dist" else 1.0, rel=0.1)


@every_loss
@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, low: torch.dtype) -> None:
    student, teacher = drawn(8, 4, seed=1).to(low), drawn(8, 4, seed=2).float()
    found = LOSSES[name](student, teacher, 4.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, LOSSES[name](student.float(), teacher, 4.0))


@every_loss
def test_float32_agrees_with_float64(name: str) -> None:
    student, teacher = drawn(8, 4, seed=1), drawn(8, 4, seed=2)
    exact = LOSSES[name](student, teacher, 4.0)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(
        LOSSES[name](student.float(), teacher.float(), 4.0).double(), exact, rtol=1e-3, atol=1e-5
    )


@every_loss
@pytest.mark.parametrize(
    "student",
    [torch.zeros(3, 4), torch.full((3, 4), 0.1), torch.tensor([[1e4, -1e4, 0.0, 5.0]] * 3), torch.tensor([[9.0] * 4])],
    ids=["zeros", "constants", "logits far apart", "one row"],
)
def test_degenerate_outputs_give_finite_losses_and_small_gradients(name: str, student: Tensor) -> None:
    """Against an ordinary teacher, a constant one and a one-hot one; an ε would give gradients of 1e7 and more."""
    student = student.clone().requires_grad_()
    for teacher in (drawn(3, 4).float(), torch.full((3, 4), 0.1), 1e4 * torch.eye(4)[:3]):
        losses = LOSSES[name](student, teacher[: len(student)], 1.0)
        assert bool(losses.isfinite().all())
        found = gradient(losses.sum(), student)
        assert bool(found.isfinite().all())
        assert float(found.abs().max()) <= 2e4


@every_loss
def test_a_batch_without_rows_gives_zero_not_nan(name: str) -> None:
    student = torch.zeros(0, 4, requires_grad=True)
    loss = LOSSES[name](student, torch.zeros(0, 4), 2.0).sum()
    assert float(loss.detach()) == 0.0
    assert gradient(loss, student).shape == (0,)


@every_softened_loss
def test_members_side_by_side_lose_what_they_lose_one_by_one(name: str) -> None:
    """Under torch.func.vmap, where F.kl_div has no batching rule."""
    students, teacher = drawn(3, 8, 4, seed=1), drawn(8, 4, seed=2)
    found = torch.func.vmap(lambda s: LOSSES[name](s, teacher, 2.0))(students)
    torch.testing.assert_close(found, torch.stack([LOSSES[name](s, teacher, 2.0) for s in students]))


class TestValuesOfTheAuthorsCode:
    """What the published implementations give for two fixed tensors, in float64."""

    student, teacher = fixed(4, 5, k=3), fixed(4, 5, k=5)

    def test_kd(self) -> None:
        found = class_kd(self.student, soft(self.teacher, 4.0), 4.0).mean()
        assert float(found) == pytest.approx(1.5371556184503625, rel=1e-9)

    def test_dkd(self) -> None:
        found = dkd(self.student, soft(self.teacher, 4.0), 4.0, torch.tensor([0, 2, 4, 1]), 1.0, 8.0).mean()
        assert float(found) == pytest.approx(10.018970623371443, rel=1e-9)

    def test_dist(self) -> None:
        found = dist(self.student, soft(self.teacher, 4.0), 4.0, 2.0, 0.5)
        assert float(found) == pytest.approx(32.3472621786285, rel=1e-6)

    def test_logit_standardisation(self) -> None:
        found = standardized(self.student)[0]
        authors = [
            -1.0898301821843044,
            1.3870565955072964,
            -0.3467641488768242,
            -0.5944528266459843,
            0.6439905621998161,
        ]
        np.testing.assert_allclose(found, authors, rtol=1e-6)


@temperatures
def test_dkd_is_its_two_parts_written_out(tau: float) -> None:
    student, teacher = drawn(8, 4, seed=1), drawn(8, 4, seed=2)
    found = dkd(student, soft(teacher, tau), tau, LABELS, 1.5, 8.0)
    p, q = softmax(teacher / tau), softmax(student / tau)
    for n, t in enumerate(LABELS.tolist()):
        tckd = kl([p[n, t], 1.0 - p[n, t]], [q[n, t], 1.0 - q[n, t]])
        others = [c for c in range(4) if c != t]
        nckd = kl(p[n, others] / p[n, others].sum(), q[n, others] / q[n, others].sum())
        assert float(found[n]) == pytest.approx(tau**2 * (1.5 * tckd + 8.0 * nckd), rel=1e-6)


def test_dkd_whose_parts_are_weighted_as_the_teacher_is_sure_is_kd() -> None:
    """The paper's equation: KD = TCKD + (1 − p_t) · NCKD."""
    student, teacher = drawn(8, 4, seed=1), drawn(8, 4, seed=2)
    log_p = soft(teacher, 4.0)
    unsure = 1.0 - softmax(teacher / 4.0)[np.arange(8), LABELS]
    parts = [dkd(student, log_p, 4.0, LABELS, alpha, 1.0 - alpha) for alpha in (1.0, 0.0)]
    torch.testing.assert_close(parts[0] + torch.from_numpy(unsure) * parts[1], class_kd(student, log_p, 4.0))


def test_dkd_of_a_mixture_of_teachers_is_that_of_their_mean_probabilities() -> None:
    student, teachers = drawn(8, 4, seed=1), (drawn(8, 4, seed=2), drawn(8, 4, seed=3))
    p = 0.3 * softmax(teachers[0] / 4.0) + 0.7 * softmax(teachers[1] / 4.0)
    mixed = torch.logaddexp(soft(teachers[0], 4.0) + np.log(0.3), soft(teachers[1], 4.0) + np.log(0.7))
    same = dkd(student, torch.from_numpy(np.log(p)), 4.0, LABELS, 1.0, 8.0)
    torch.testing.assert_close(dkd(student, mixed, 4.0, LABELS, 1.0, 8.0), same)


def test_dkd_of_a_row_without_a_label_is_zero_and_has_no_gradient() -> None:
    student, teacher = drawn(3, 4, seed=1).requires_grad_(), soft(drawn(3, 4, seed=2), 4.0)
    losses = dkd(student, teacher, 4.0, torch.tensor([1, -1, 2]), 1.0, 8.0)
    whole = dkd(student, teacher, 4.0, torch.tensor([1, 0, 2]), 1.0, 8.0)
    assert losses.tolist() == [whole.tolist()[0], 0.0, whole.tolist()[2]]
    found = gradient(losses.sum(), student).reshape(3, 4)
    assert float(found[1].abs().max()) == 0.0
    assert float(found[[0, 2]].abs().min()) > 0.0


def test_dkd_of_a_teacher_sure_beyond_rounding_is_finite() -> None:
    """log(1 − exp(log p_t)) is −inf here; by logsumexp it is log 2 − 200."""
    teacher = log_softmax(torch.tensor([[200.0, 0.0, 0.0]]), 1)
    assert bool((1.0 - teacher.exp()[:, 0]).log().isneginf())
    student = torch.zeros(1, 3, requires_grad=True)
    loss = dkd(student, teacher, 1.0, torch.tensor([0]), 1.0, 1.0)
    assert float(loss.detach()) == pytest.approx(np.log(3.0), rel=1e-6)
    np.testing.assert_allclose(gradient(loss.sum(), student), [-2 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    sure = dkd(teacher, torch.log(torch.tensor([[0.5, 0.25, 0.25]])), 1.0, torch.tensor([0]), 1.0, 1.0)
    assert float(sure) == pytest.approx(-np.log(2.0) + 0.5 * (200.0 - np.log(2.0)), rel=1e-6)


def test_with_two_classes_the_other_part_of_dkd_is_zero() -> None:
    """Trap: only TCKD is left, which is plain kd; β does nothing."""
    student, teacher = drawn(6, 2, seed=1).requires_grad_(), soft(drawn(6, 2, seed=2), 4.0)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    rest = dkd(student, teacher, 4.0, labels, 0.0, 8.0)
    assert rest.tolist() == [0.0] * 6
    assert float(gradient(rest.sum(), student).abs().max()) == 0.0
    torch.testing.assert_close(dkd(student, teacher, 4.0, labels, 1.0, 8.0), class_kd(student, teacher, 4.0))


@temperatures
def test_dist_is_one_minus_the_correlations_of_rows_and_of_classes(tau: float) -> None:
    student, teacher = drawn(8, 4, seed=1), drawn(8, 4, seed=2)
    p, q = softmax(teacher / tau), softmax(student / tau)
    inter = np.mean([1.0 - np.corrcoef(p[n], q[n])[0, 1] for n in range(8)])
    intra = np.mean([1.0 - np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(4)])
    found = dist(student, soft(teacher, tau), tau, 2.0, 0.5)
    assert found.shape == ()
    assert float(found) == pytest.approx(tau**2 * (2.0 * inter + 0.5 * intra), rel=1e-6)


def test_dist_of_one_row_has_no_part_within_classes() -> None:
    student, teacher = drawn(1, 4, seed=1), drawn(1, 4, seed=2)
    p, q = softmax(teacher / 4.0), softmax(student / 4.0)
    assert float(dist(student, soft(teacher, 4.0), 4.0, 0.0, 5.0)) == 0.0
    inter = 16.0 * (1.0 - np.corrcoef(p, q)[0, 1])
    assert float(dist(student, soft(teacher, 4.0), 4.0, 1.0, 5.0)) == pytest.approx(inter, rel=1e-6)


def test_with_two_classes_the_correlation_of_dist_over_classes_is_plus_or_minus_one() -> None:
    """Trap: inter counts the rows on which student and teacher disagree, twice, and has no gradient."""
    student = torch.tensor([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5], [-1.0, 4.0]], dtype=torch.float64, requires_grad=True)
    teacher = soft(torch.tensor([[5.0, 1.0], [2.0, 1.0], [9.0, 0.0], [0.0, 0.1]], dtype=torch.float64), 1.0)
    loss = dist(student, teacher, 1.0, 1.0, 0.0)
    assert float(loss.detach()) == pytest.approx(2.0 * 1 / 4, abs=1e-12)
    assert float(gradient(loss, student).abs().max()) < 1e-12
    assert float(gradient(dist(student, teacher, 1.0, 0.0, 1.0), student).abs().max()) > 1e-2


def test_dist_of_a_constant_student_counts_as_uncorrelated_and_pulls_towards_the_teacher() -> None:
    """0.1 ten times over has a mean that is not 0.1: its rounding errors are no direction."""
    student = torch.full((6, 10), 0.1, requires_grad=True)
    teacher = soft(drawn(6, 10).float(), 1.0)
    loss = dist(student, teacher, 1.0, 1.0, 0.0)
    assert float(loss.detach()) == pytest.approx(1.0, abs=1e-6)
    found = gradient(loss, student).reshape(6, 10)
    assert torch.equal(found.argmin(1), teacher.argmax(1))
    assert 1e-3 < float(found.abs().max()) < 1.0


@temperatures
def test_reverse_kl_is_the_divergence_of_the_student_from_the_teacher(tau: float) -> None:
    student, teacher = drawn(8, 4, seed=1), drawn(8, 4, seed=2)
    found = reverse_kl(student, soft(teacher, tau), tau)
    p, q = softmax(teacher / tau), softmax(student / tau)
    np.testing.assert_allclose(found, [tau**2 * kl(q[n], p[n]) for n in range(8)], rtol=1e-6)


@temperatures
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_jsd_is_both_divergences_from_the_mixture(tau: float, beta: float) -> None:
    student, teacher = drawn(8, 4, seed=1), drawn(8, 4, seed=2)
    found = jsd(student, soft(teacher, tau), tau, beta)
    p, q = softmax(teacher / tau), softmax(student / tau)
    m = beta * p + (1.0 - beta) * q
    written = [tau**2 * (beta * kl(p[n], m[n]) + (1.0 - beta) * kl(q[n], m[n])) for n in range(8)]
    np.testing.assert_allclose(found, written, rtol=1e-6)


def test_jsd_leans_to_kd_at_a_small_beta_and_to_reverse_kl_at_a_large_one() -> None:
    student, teacher = drawn(8, 4, seed=1), soft(drawn(8, 4, seed=2), 4.0)
    kd, reverse = class_kd(student, teacher, 4.0), reverse_kl(student, teacher, 4.0)
    torch.testing.assert_close(jsd(student, teacher, 4.0, 1e-6) / 1e-6, kd, rtol=1e-3, atol=0)
    torch.testing.assert_close(jsd(student, teacher, 4.0, 1.0 - 1e-6) / 1e-6, reverse, rtol=1e-3, atol=0)


def test_jsd_is_bounded_by_log_two_where_kd_is_not() -> None:
    student, teacher = torch.tensor([[0.0, 1000.0]]), soft(torch.tensor([[1000.0, 0.0]]), 1.0)
    assert float(jsd(student, teacher, 1.0, 0.5)) == pytest.approx(np.log(2.0), rel=1e-6)
    assert float(class_kd(student, teacher, 1.0)) == 1000.0


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_jsd_refuses_a_beta_that_mixes_nothing(beta: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < beta < 1"):
        jsd(drawn(2, 3), soft(drawn(2, 3), 1.0), 1.0, beta)
    with pytest.raises(ValueError, match="expected 0 < beta < 1"):
        multilabel_jsd(drawn(2, 3), *yes_and_no(drawn(2, 3), 1.0), 1.0, beta)


def test_logit_mse_is_the_mean_squared_difference_of_centred_logits() -> None:
    student, teacher = drawn(8, 4, seed=1).numpy(), drawn(8, 4, seed=2).numpy()
    found = logit_mse(torch.from_numpy(student), soft(torch.from_numpy(teacher), 1.0))
    for n in range(8):
        apart = [(student[n, c] - student[n].mean()) - (teacher[n, c] - teacher[n].mean()) for c in range(4)]
        assert float(found[n]) == pytest.approx(sum(a * a for a in apart) / 4, rel=1e-6)


def test_logit_mse_of_an_identical_model_that_puts_out_log_probabilities_is_zero() -> None:
    """Trap: the plain squared error punishes it for the constant that log_softmax takes off."""
    logits = drawn(50, 10, spread=5.0)
    log_p = log_softmax(logits, 1)
    assert float((logits - log_p).square().mean()) > 50.0
    assert float(logit_mse(logits, log_p).max()) < 1e-24
    torch.testing.assert_close(logit_mse(logits + 7.0, log_p), torch.zeros(50, dtype=torch.float64))


def test_standardized_logits_have_mean_zero_and_standard_deviation_one() -> None:
    z = drawn(8, 5, spread=30.0) + 100.0
    found = standardized(z)
    written = (z.numpy() - z.numpy().mean(1, keepdims=True)) / z.numpy().std(1, ddof=1, keepdims=True)
    np.testing.assert_allclose(found, written, rtol=1e-6)
    torch.testing.assert_close(standardized(log_softmax(z, 1)), found)
    torch.testing.assert_close(standardized(0.01 * z - 3.0), found)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e3])
def test_constant_logits_are_standardized_to_zeros_with_an_ordinary_gradient(value: float) -> None:
    """With an ε of 1e-7 the rounding error of 0.1's mean would become a logit, and the gradient 1e7."""
    z = torch.full((2, 10), value, requires_grad=True)
    found = standardized(z)
    assert float(found.detach().abs().max()) < 1e-3
    assert float(gradient(found[0, 0], z).abs().max()) == pytest.approx(0.9 * 3.0, rel=1e-5)


def test_with_two_classes_standardized_logits_keep_only_their_sign() -> None:
    """Trap: ±1/√2 whatever they were, and no gradient."""
    z = torch.tensor([[5.0, 1.0], [0.0, 100.0], [0.3, 0.2]], dtype=torch.float64, requires_grad=True)
    found = standardized(z)
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(found.detach(), signs / 2**0.5)
    assert float(gradient(found[:, 0].sum(), z).abs().max()) < 1e-12


@temperatures
def test_multilabel_losses_are_means_over_labels_of_bernoulli_divergences(tau: float) -> None:
    student, teacher = drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    p, q = sigmoid(teacher / tau), sigmoid(student / tau)
    reverse, middle = np.zeros(5), np.zeros(5)
    for n in range(5):
        for label in range(3):
            t, s = p[n, label], q[n, label]
            m = 0.3 * t + 0.7 * s
            reverse[n] += tau**2 * kl([s, 1 - s], [t, 1 - t]) / 3
            middle[n] += tau**2 * (0.3 * kl([t, 1 - t], [m, 1 - m]) + 0.7 * kl([s, 1 - s], [m, 1 - m])) / 3
    np.testing.assert_allclose(SOFTENED["multilabel_reverse_kl"](student, teacher, tau), reverse, rtol=1e-6)
    np.testing.assert_allclose(SOFTENED["multilabel_jsd"](student, teacher, tau), middle, rtol=1e-6)


def test_multilabel_mse_does_not_centre() -> None:
    student, teacher = drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    written = [
        sum((float(s) - float(t)) ** 2 for s, t in zip(*rows, strict=True)) / 3
        for rows in zip(student, teacher, strict=True)
    ]
    np.testing.assert_allclose(multilabel_mse(student, *yes_and_no(teacher, 1.0)), written, rtol=1e-6)
    further = multilabel_mse(teacher + 2.0, *yes_and_no(teacher, 1.0))
    torch.testing.assert_close(further, torch.full((5,), 4.0, dtype=torch.float64))


@temperatures
def test_the_squared_errors_of_logits_and_log_odds_are_the_same_at_each_temperature(tau: float) -> None:
    student, teacher = drawn(5, 3, seed=1), drawn(5, 3, seed=2)
    torch.testing.assert_close(logit_mse(student, soft(teacher, tau), tau), logit_mse(student, soft(teacher, 1.0)))
    plain = multilabel_mse(student, *yes_and_no(teacher, 1.0))
    torch.testing.assert_close(multilabel_mse(student, *yes_and_no(teacher, tau), tau), plain)


@pytest.mark.parametrize("name", [name for name in LOSSES if name.startswith("multilabel")])
def test_with_forty_labels_multilabel_losses_pull_as_hard_as_mean_binary_cross_entropy(name: str) -> None:
    """Trap: summed over labels, as `batchmean` does, they would pull 40 times as hard."""
    student, teacher = drawn(64, 40, seed=1, spread=1.0).requires_grad_(), drawn(64, 40, seed=2, spread=2.0)
    hard = binary_cross_entropy_with_logits(student, (teacher > 0).double())
    pull = gradient(LOSSES[name](student, teacher, 1.0).mean(), student).norm() / gradient(hard, student).norm()
    assert 0.1 < float(pull) < 10.0
