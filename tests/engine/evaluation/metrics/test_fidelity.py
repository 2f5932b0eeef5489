"""Fidelity against closed forms, and teachers' means."""

import math

import pytest
import torch

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, ValueOutput, VectorOutput
from workers.engine.evaluation.metrics.fidelity import fidelity
from workers.engine.evaluation.metrics.outputs import PartyOutputs, in_target_units, mean_outputs

LOGITS = ClassOutput(kind="class")
PROBABILITIES = ClassOutput(kind="class", output="probabilities")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_student_equal_to_its_teacher_agrees_without_divergence() -> None:
    logits = random(100, 5)
    found = fidelity(PartyOutputs(logits, LOGITS), PartyOutputs(logits + 3.0, LOGITS))
    assert found.agreement == 1.0
    assert found.kl == pytest.approx(0.0, abs=1e-9)
    assert found.rows == 100


def test_divergence_is_teacher_to_student_in_nats() -> None:
    teacher, student = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.5, 0.5]])
    found = fidelity(PartyOutputs(teacher, PROBABILITIES), PartyOutputs(student.log(), LOGITS))
    assert found.kl == pytest.approx(0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5), rel=1e-6)


def test_a_teacher_that_excludes_a_class_has_a_finite_divergence() -> None:
    teacher, student = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.25, 0.75]])
    found = fidelity(PartyOutputs(teacher, PROBABILITIES), PartyOutputs(student.log(), LOGITS))
    assert found.agreement == 0.0
    assert found.kl == pytest.approx(math.log(4.0), abs=1e-5)


def test_energies_and_logits_of_the_same_teacher_agree() -> None:
    logits = random(50, 4)
    energies = ClassOutput(kind="class", output="energies")
    found = fidelity(PartyOutputs(-logits, energies), PartyOutputs(logits, LOGITS))
    assert found.agreement == 1.0
    assert found.kl == pytest.approx(0.0, abs=1e-9)


def test_multilabel_fidelity_counts_decisions_and_bernoulli_divergence() -> None:
    teacher, student = torch.tensor([[0.9, 0.2]]), torch.tensor([[0.6, 0.7]])
    found = fidelity(
        PartyOutputs(teacher, MultilabelOutput(kind="multilabel", output="probabilities")),
        PartyOutputs(torch.logit(student), MultilabelOutput(kind="multilabel")),
    )

    def kl(p: float, q: float) -> float:
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    assert found.agreement == 0.5
    assert found.kl == pytest.approx((kl(0.9, 0.6) + kl(0.2, 0.7)) / 2, rel=1e-5)


def test_value_fidelity_compares_in_own_units() -> None:
    teacher = PartyOutputs(torch.tensor([[1.0], [2.0]]), ValueOutput(kind="value", mean=10.0, std=2.0))
    student = PartyOutputs(torch.tensor([[12.0], [17.0]]), ValueOutput(kind="value"))
    found = fidelity(teacher, student)
    assert found.rmse == pytest.approx(math.sqrt((0.0 + 9.0) / 2))
    assert (found.agreement, found.kl) == (None, None)


def test_no_rows_have_no_fidelity() -> None:
    found = fidelity(PartyOutputs(random(0, 3), LOGITS), PartyOutputs(random(0, 3), LOGITS))
    assert (found.rows, found.agreement, found.kl) == (0, None, None)


def test_teachers_are_softened_and_then_averaged() -> None:
    one, other = random(20, 4, seed=1) * 3, random(20, 4, seed=2)
    mean = mean_outputs([PartyOutputs(one, LOGITS), PartyOutputs(other, LOGITS)], [3.0, 1.0])
    expected = 0.75 * one.softmax(1) + 0.25 * other.softmax(1)
    assert isinstance(mean.spec, ClassOutput)
    assert mean.spec.output == "log_probabilities"
    torch.testing.assert_close(mean.values.exp(), expected)


def test_a_teacher_without_weight_says_nothing() -> None:
    one, other = random(20, 4, seed=1), random(20, 4, seed=2)
    mean = mean_outputs([PartyOutputs(one, LOGITS), PartyOutputs(other, LOGITS)], [2.0, 0.0])
    torch.testing.assert_close(mean.values.exp(), one.softmax(1))


def test_one_teacher_is_its_own_mean() -> None:
    alone = PartyOutputs(random(3, 2), LOGITS)
    assert mean_outputs([alone], [0.3]) is alone


def test_label_and_value_teachers_average_what_they_mean() -> None:
    p, q = torch.tensor([[0.2, 0.9]]), torch.tensor([[0.6, 0.1]])
    labels = mean_outputs(
        [
            PartyOutputs(torch.logit(p), MultilabelOutput(kind="multilabel")),
            PartyOutputs(q, MultilabelOutput(kind="multilabel", output="probabilities")),
        ],
        [1.0, 1.0],
    )
    torch.testing.assert_close(labels.values, (p + q) / 2)
    values = mean_outputs(
        [
            PartyOutputs(torch.tensor([[1.0]]), ValueOutput(kind="value", mean=10.0, std=5.0)),
            PartyOutputs(torch.tensor([[21.0]]), ValueOutput(kind="value")),
        ],
        [1.0, 2.0],
    )
    assert in_target_units(values.values, values.spec).item() == pytest.approx((15.0 + 2 * 21.0) / 3)


def test_vectors_keep_their_kind() -> None:
    spec = VectorOutput(kind="vector")
    mean = mean_outputs([PartyOutputs(torch.zeros(2, 3), spec), PartyOutputs(torch.ones(2, 3), spec)], [1.0, 1.0])
    assert mean.spec == spec
    torch.testing.assert_close(mean.values, torch.full((2, 3), 0.5))


def test_a_row_without_one_teacher_is_that_of_the_others_and_without_any_it_is_left_out() -> None:
    spec = ValueOutput(kind="value")
    one, other = torch.tensor([[1.0], [torch.nan], [torch.nan]]), torch.tensor([[4.0], [4.0], [torch.nan]])
    mean = mean_outputs([PartyOutputs.of_teacher(one, spec), PartyOutputs.of_teacher(other, spec)], [2.0, 1.0])
    assert mean.values[:2].tolist() == [[2.0], [4.0]]
    assert mean.values[2].isnan().all()
    assert mean.positions.tolist() == [0, 1]
    found = fidelity(mean, PartyOutputs(torch.tensor([[2.0], [6.0], [9.0]]), spec))
    assert found.rows == 2
    assert found.rmse == pytest.approx(2.0**0.5)
    logits, holes = random(3, 4, seed=1), random(3, 4, seed=2)
    holes[1] = torch.nan
    classes = mean_outputs([PartyOutputs.of_teacher(each, LOGITS) for each in (logits, holes)], [1.0, 1.0])
    torch.testing.assert_close(classes.values[1].exp(), logits[1].softmax(0))
    torch.testing.assert_close(classes.values[0].exp(), (logits[0].softmax(0) + holes[0].softmax(0)) / 2)
