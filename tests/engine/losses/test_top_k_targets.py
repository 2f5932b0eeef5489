"""Terms on top-k targets: their gradients beside those on all scores, and what a small student learns of them."""

from typing import Annotated, Any

import pytest
import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput
from app.contracts.specs.distillation import LogitTerm
from tests.engine.losses.small_terms import CPU, gradient, places, scores
from workers.engine.data.top_k.packing import TopKPacking
from workers.engine.data.top_k.rows import TopK
from workers.engine.losses.soft_target_losses import ClassSoftTargets
from workers.engine.losses.teacher_mix import TeacherEnsemble, TeacherOutputs, confidence_shares
from workers.engine.losses.term import TermInputs

TERM: TypeAdapter[LogitTerm] = TypeAdapter(Annotated[LogitTerm, Field(discriminator="method")])
LOGITS = ClassOutput(kind="class")
LOG_P = ClassOutput(kind="class", output="log_probabilities")
CLASSES = 40


def kept(values: Tensor, k: int, draws: int = 0) -> TeacherOutputs:
    """The scores [n, C] as the store keeps them."""
    packing = TopKPacking(values.shape[1], k, draws)
    numbers, indices = packing.pack(values, 0)
    return TeacherOutputs(TopK(numbers.float(), indices, packing), LOG_P, 1.0)


def again(values: Tensor, k: int) -> TeacherOutputs:
    """The k largest alone, whose probabilities are normalised again: what an earlier version stored."""
    top = values.topk(k, dim=1)
    return TeacherOutputs(torch.full_like(values, -1e4).scatter(1, top.indices, top.values), LOGITS, 1.0)


def term_of(*teachers: TeacherOutputs, labels: Tensor | None = None, **term: Any) -> ClassSoftTargets:
    spec = TERM.validate_python({"method": "kd", "temperature": 2.0, "weight": 1.0, **term})
    return ClassSoftTargets.of(spec, spec.method, TeacherEnsemble.of(teachers, CPU), labels, CPU)


def gradient_of(term: ClassSoftTargets, student: Tensor) -> Tensor:
    at = student.clone().requires_grad_()
    return gradient(term.losses(TermInputs(at), places(len(at))).sum(), at)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("term", ["kd", "dkd", "dist", "reverse_kl", "jsd"])
def test_with_one_class_left_out_every_method_has_the_gradient_of_all_scores(term: str, temperature: float) -> None:
    """The mass of the rest is that of the one class that it consists of."""
    teacher, student = scores(30, CLASSES).float(), scores(30, CLASSES, seed=1).float()
    labels = torch.arange(30)
    changes: dict[str, Any] = {"method": term, "temperature": temperature, "labels": labels}
    whole = gradient_of(term_of(TeacherOutputs(teacher, LOGITS, 1.0), **changes), student)
    found = gradient_of(term_of(kept(teacher, CLASSES - 1), **changes), student)
    torch.testing.assert_close(found, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_gradient_over_many_rows_is_nearer_to_that_of_all_scores_than_normalised_again(temperature: float) -> None:
    """1000 rows of the same scores: the mean gradient of the drawn classes, of an even rest, and of the k largest."""
    teacher, student = scores(1, CLASSES).float().expand(1000, -1), scores(1, CLASSES, seed=1).float().expand(1000, -1)
    whole = gradient_of(term_of(TeacherOutputs(teacher, LOGITS, 1.0), temperature=temperature), student).mean(0)
    errors = [
        float((gradient_of(term_of(each, temperature=temperature), student).mean(0) - whole).norm())
        for each in (kept(teacher, 4, 8), kept(teacher, 4), again(teacher, 4))
    ]
    drawn, even, renormalised = errors
    assert drawn < 0.6 * even
    assert even < renormalised


def test_the_loss_of_a_student_that_equals_its_teacher_is_near_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn classes are compared with the probability that the teacher gives them, so that their part is 0."""
    teacher = scores(200, CLASSES).float()
    by_draws, by_largest = (
        term_of(each).losses(TermInputs(teacher), places(200)) for each in (kept(teacher, 4, 8), again(teacher, 4))
    )
    assert float(by_draws.abs().mean()) < 0.2 * float(by_largest.mean())
    monkeypatch.setattr("workers.engine.data.top_k.rows.ESTIMATED", 1.0)
    losses = term_of(kept(teacher, 4, 8)).losses(TermInputs(teacher), places(200))
    torch.testing.assert_close(losses, torch.zeros(200), rtol=0, atol=1e-5)
    other = term_of(kept(teacher, 4, 8)).losses(TermInputs(teacher.roll(1, 0)), places(200))
    whole = term_of(TeacherOutputs(teacher, LOGITS, 1.0)).losses(TermInputs(teacher.roll(1, 0)), places(200))
    assert float(other.mean()) == pytest.approx(float(whole.mean()), rel=0.02)


def test_teachers_of_which_one_is_kept_whole_are_averaged() -> None:
    first, second, student = (scores(30, CLASSES, seed).float() for seed in range(3))
    whole = term_of(TeacherOutputs(first, LOGITS, 1.0), TeacherOutputs(second, LOGITS, 1.0))
    packed = term_of(kept(first, CLASSES - 2, 1), TeacherOutputs(second, LOGITS, 1.0))
    found, expected = gradient_of(packed, student), gradient_of(whole, student)
    assert float((found - expected).norm()) < 1e-2 * float(expected.norm())
    torch.testing.assert_close(found.sum(1), torch.zeros(30), rtol=0, atol=1e-5)


def test_a_learned_temperature_takes_no_drawn_classes() -> None:
    """Its gradient is not linear in the teacher's probabilities."""
    learned = {"learned": True, "start": 2.0}
    teacher = scores(30, CLASSES).float()
    losses = [
        term_of(kept(teacher, 4, draws), temperature=learned).losses(TermInputs(teacher.flip(1)), places(30))
        for draws in (0, 8)
    ]
    assert bool(torch.stack(losses).isfinite().all())
    assert TERM.validate_python({"method": "kd"}).takes_drawn_classes
    assert not TERM.validate_python({"method": "kd", "temperature": learned}).takes_drawn_classes


def test_confidence_in_a_label_that_is_not_stored_is_that_of_an_even_rest() -> None:
    """Two teachers, one of which has not stored the label: its cross-entropy is finite and weighs it little."""
    flat, sure = torch.zeros(1, CLASSES), torch.zeros(1, CLASSES)
    flat[0, :4], sure[0, 39] = 0.01, 5.0
    found = confidence_shares((kept(flat, 4), kept(sure, 4)), torch.tensor([39]))
    doubts = torch.stack([-flat.log_softmax(1)[0, 39], -sure.log_softmax(1)[0, 39]]).softmax(0)
    torch.testing.assert_close(found[0], 1.0 - doubts, rtol=1e-3, atol=1e-3)


def test_trap_a_student_of_top_k_targets_is_better_than_one_of_labels_and_of_targets_normalised_again() -> None:
    """A linear student with few rows: judged by nll, since accuracy does not show what the targets say of the rest."""
    drawn = torch.Generator().manual_seed(0)
    weights = torch.randn(6, CLASSES, generator=drawn) * 0.7
    x, test = (torch.randn(rows, 6, generator=drawn) for rows in (300, 2000))
    teacher, truth = x @ weights, (test @ weights).softmax(1)
    labels = torch.multinomial(teacher.softmax(1), 1, generator=drawn)

    def nll(outputs: TeacherOutputs) -> float:
        student = torch.zeros(6, CLASSES, requires_grad=True)
        optimizer = torch.optim.Adam([student], lr=0.1)
        term = term_of(outputs, temperature=1.0)
        for _ in range(150):
            optimizer.zero_grad()
            torch.autograd.backward(term.losses(TermInputs(x @ student), places(300)).mean())
            optimizer.step()
        return float(-(truth * (test @ student.detach()).log_softmax(1)).sum(1).mean())

    alone = nll(TeacherOutputs(torch.full((300, CLASSES), -1e4).scatter(1, labels, 0.0), LOGITS, 1.0))
    whole = nll(TeacherOutputs(teacher, LOGITS, 1.0))
    assert whole < nll(kept(teacher, 3, 8)) < whole + 0.05
    assert whole + 0.05 < alone < nll(again(teacher, 3)) - 0.2
