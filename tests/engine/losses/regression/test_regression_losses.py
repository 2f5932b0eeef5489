"""Losses on values and vectors against formulas written out, and at the places where they have a corner."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from tests.engine.losses.formulas import drawn, gradient
from workers.engine.losses.regression.cosine import cosine
from workers.engine.losses.regression.huber import number_huber
from workers.engine.losses.regression.mse import number_mse
from workers.engine.losses.regression.teacher_bounded import teacher_bounded

LABELS = drawn(8, 3, seed=9)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "huber": lambda s, t: number_huber(s, t, 1.5),
    "teacher_bounded": lambda s, t: teacher_bounded(s, t, LABELS[: len(s)].to(t.dtype), 0.1),
    "cosine": cosine,
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
def test_the_gradient_is_that_of_the_loss(name: str) -> None:
    student, teacher = drawn(8, 3, seed=1).requires_grad_(), drawn(8, 3, seed=2)
    assert gradcheck(lambda s: LOSSES[name](s, teacher), student)


@every_loss
@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, low: torch.dtype) -> None:
    student, teacher = drawn(8, 3, seed=1).to(low), drawn(8, 3, seed=2).float()
    found = LOSSES[name](student, teacher)
    assert found.dtype == torch.float32
    assert torch.equal(found, LOSSES[name](student.float(), teacher))


@every_loss
def test_float32_agrees_with_float64(name: str) -> None:
    student, teacher = drawn(8, 3, seed=1), drawn(8, 3, seed=2)
    exact = LOSSES[name](student, teacher)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(LOSSES[name](student.float(), teacher.float()).double(), exact, rtol=1e-3, atol=1e-5)


@every_loss
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_zeros_give_finite_losses_and_gradients_in_a_batch_of_any_size(name: str, rows: int) -> None:
    for values in (torch.zeros(rows, 3), torch.ones(rows, 3)):
        student = values.requires_grad_()
        for teacher in (torch.zeros(rows, 3), drawn(rows, 3).float()):
            losses = LOSSES[name](student, teacher)
            assert losses.shape == (rows,)
            assert bool(losses.isfinite().all())
            found = gradient(losses.sum(), student)
            assert bool((found.abs() < 10.0).all())


@every_loss
def test_members_side_by_side_lose_what_they_lose_one_by_one(name: str) -> None:
    students, teacher = drawn(4, 8, 3, seed=1), drawn(8, 3, seed=2)
    found = torch.func.vmap(lambda s: LOSSES[name](s, teacher))(students)
    torch.testing.assert_close(found, torch.stack([LOSSES[name](s, teacher) for s in students]))


@pytest.mark.parametrize("delta", [0.1, 1.0, 5.0])
def test_huber_is_a_parabola_that_goes_on_as_a_line(delta: float) -> None:
    student, teacher = drawn(8, 3, seed=1), drawn(8, 3, seed=2)
    written = np.zeros(8)
    for n in range(8):
        for i in range(3):
            d = abs(float(student[n, i]) - float(teacher[n, i]))
            written[n] += (0.5 * d * d if d <= delta else delta * (d - 0.5 * delta)) / 3
    np.testing.assert_allclose(number_huber(student, teacher, delta), written, rtol=1e-6)


def test_huber_is_half_the_squared_error_near_the_teacher_and_pulls_no_harder_than_delta_far_from_it() -> None:
    student, teacher = drawn(8, 3, seed=1).requires_grad_(), drawn(8, 3, seed=2)
    torch.testing.assert_close(number_huber(student, teacher, 1e6), 0.5 * number_mse(student, teacher))
    far = number_huber(student + 1e6, teacher, 0.5).sum()
    torch.testing.assert_close(gradient(far, student), torch.full((24,), 0.5 / 3, dtype=torch.float64))
    assert number_huber(teacher, teacher, 1.0).tolist() == [0.0] * 8


@pytest.mark.parametrize("margin", [-0.5, 0.0, 0.5, 100.0])
def test_teacher_bounded_is_the_error_to_the_label_unless_the_student_is_better_by_the_margin(margin: float) -> None:
    student, teacher, labels = drawn(40, 3, seed=1), drawn(40, 3, seed=2), drawn(40, 3, seed=3)
    written = []
    for s, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        own = sum((a - b) ** 2 for a, b in zip(s, y, strict=True)) / 3
        bar = sum((a - b) ** 2 for a, b in zip(t, y, strict=True)) / 3
        written.append(own if own + margin > bar else 0.0)
    np.testing.assert_allclose(teacher_bounded(student, teacher, labels, margin), written, rtol=1e-6)
    assert (min(written) == 0.0) == (margin < 100.0), "both sides are taken"
    assert max(written) > 0.0


def test_teacher_bounded_leaves_a_student_alone_that_is_better_than_its_teacher() -> None:
    """Label 0, teacher at 1: errors of 0.25, 1 and 4 against a bar of 1; level with the teacher is not above it."""
    student = torch.tensor([[0.5], [-1.0], [2.0]], requires_grad=True)
    teacher, labels = torch.ones(3, 1), torch.zeros(3, 1)
    losses = teacher_bounded(student, teacher, labels, 0.0)
    assert losses.tolist() == [0.0, 0.0, 4.0]
    assert gradient(losses.sum(), student).tolist() == [0.0, 0.0, 4.0]
    assert teacher_bounded(student, teacher, labels, 0.5).tolist() == [0.0, 1.0, 4.0]
    assert teacher_bounded(student, teacher, labels, 0.8).tolist() == [0.25, 1.0, 4.0]


def test_teacher_bounded_of_a_row_without_labels_is_zero_and_has_no_gradient() -> None:
    student = drawn(3, 2, seed=1).requires_grad_()
    labels = torch.tensor([[0.0, 0.0], [torch.nan, 0.0], [torch.nan, torch.nan]], dtype=torch.float64)
    losses = teacher_bounded(student, drawn(3, 2, seed=2), labels, 100.0)
    assert losses.tolist()[1:] == [0.0, 0.0]
    assert losses.tolist()[0] > 0.0
    found = gradient(losses.sum(), student)
    assert found.tolist()[2:] == [0.0] * 4
    assert bool((found[:2] != 0.0).all())


def test_cosine_is_one_minus_the_cosine_of_the_angle() -> None:
    student, teacher = drawn(8, 5, seed=1), drawn(8, 5, seed=2)
    s, t = student.numpy(), teacher.numpy()
    written = [1.0 - s[n] @ t[n] / np.sqrt(s[n] @ s[n]) / np.sqrt(t[n] @ t[n]) for n in range(8)]
    np.testing.assert_allclose(cosine(student, teacher), written, rtol=1e-6)
    torch.testing.assert_close(cosine(7.0 * student, 0.1 * teacher), cosine(student, teacher))


def test_cosine_is_zero_in_the_teachers_direction_and_two_against_it() -> None:
    teacher = drawn(8, 5)
    assert float(cosine(3.0 * teacher, teacher).abs().max()) < 1e-12
    assert cosine(-teacher, teacher).tolist() == pytest.approx([2.0] * 8)


def test_cosine_of_a_vector_of_zeros_is_one_and_pulls_towards_the_teacher() -> None:
    """Normalising by max(‖v‖, 1e-12) would pull with 1e12."""
    student, teacher = torch.zeros(1, 2, requires_grad=True), torch.tensor([[3.0, 4.0]])
    loss = cosine(student, teacher)
    assert loss.tolist() == [1.0]
    torch.testing.assert_close(gradient(loss.sum(), student), torch.tensor([-0.6, -0.8]))
    assert cosine(teacher, torch.zeros(1, 2)).tolist() == [1.0]
