"""The measures of a search against formulas written out, and the order in which they decide."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from app.contracts.specs.jobs import TeacherRef
from tests.engine.plain_training import plain_settings
from workers.engine.data.dataset import TargetColumn
from workers.engine.jobs.runs.scoring import Scored, ScoredTask, Scoring
from workers.engine.jobs.search_runner import best_of
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.tasks.build import BuiltTask
from workers.engine.tasks.task import Task

ROWS = torch.tensor([1, 2, 4, 5])
CLASS, LABELS = ClassOutput(kind="class"), MultilabelOutput(kind="multilabel")
VALUE = ValueOutput(kind="value", mean=10.0, std=4.0)
VECTOR = VectorOutput(kind="vector", mean=(0.0, 1.0, 2.0), std=(1.0, 2.0, 3.0))


def noise(size: int, seed: int) -> Tensor:
    return torch.randn(6, size, generator=torch.Generator().manual_seed(seed))


def taught(name: str, spec: OutputSpec, *teachers: tuple[Tensor, float]) -> ScoredTask:
    """A task without labels; teachers are (outputs in the student's units, weight)."""
    outputs = tuple(TeacherOutputs(values, spec, weight) for values, weight in teachers)
    return ScoredTask(name, spec, None, outputs, ROWS)


def labelled(name: str, spec: OutputSpec, kind: Any, values: Tensor, size: int) -> ScoredTask:
    known = torch.tensor([True, True, False, True, True, True])
    return ScoredTask(name, spec, TargetColumn(kind, size, values, known), (), ROWS)


def scored(*tasks: ScoredTask, outputs: dict[str, Tensor], **training: Any) -> Scored:
    return Scoring(tasks, ROWS, plain_settings(**training)).of_outputs(outputs)


def log_softmax(values: Tensor) -> Any:
    logits = values.double().numpy()
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def sigmoid(values: Tensor) -> Any:
    return 1.0 / (1.0 + np.exp(-values.double().numpy()))


def test_classes_without_labels_are_compared_by_kl_from_the_teachers_mean_at_temperature_1() -> None:
    first, second, student = noise(3, 0), noise(3, 1), noise(3, 2)[ROWS]
    found = scored(taught("a", CLASS, (first, 3.0), (second, 1.0)), outputs={"a": student})
    p = 0.75 * np.exp(log_softmax(first[ROWS])) + 0.25 * np.exp(log_softmax(second[ROWS]))
    kl = (p * (np.log(p) - log_softmax(student))).sum(1).mean()
    assert found.score == pytest.approx(-kl, rel=1e-5)
    assert found.loss == pytest.approx(kl, rel=1e-5)


def test_labels_without_labels_are_compared_by_the_mean_bernoulli_kl() -> None:
    teacher, student = noise(3, 0), noise(3, 1)[ROWS]
    p, q = sigmoid(teacher[ROWS]), sigmoid(student)
    kl = (p * np.log(p / q) + (1.0 - p) * np.log((1.0 - p) / (1.0 - q))).mean()
    assert scored(taught("a", LABELS, (teacher, 1.0)), outputs={"a": student}).loss == pytest.approx(kl)


@pytest.mark.parametrize(("spec", "std"), [(VALUE, [4.0]), (VECTOR, [1.0, 2.0, 3.0])])
def test_numbers_without_labels_are_compared_by_the_rmse_in_target_units(spec: OutputSpec, std: list[float]) -> None:
    teacher, student = noise(len(std), 0), noise(len(std), 1)[ROWS]
    rmse = np.sqrt(np.square((teacher[ROWS] - student).numpy() * std).mean())
    assert scored(taught("a", spec, (teacher, 1.0)), outputs={"a": student}).loss == pytest.approx(rmse, rel=1e-5)


def test_rows_that_no_teacher_has_an_output_for_are_left_out() -> None:
    teacher, student = noise(3, 0), noise(3, 1)[ROWS]
    teacher[2] = torch.nan
    task = taught("a", CLASS, (teacher, 1.0))
    assert task.counted.tolist() == [True, False, True, True]
    kept = [0, 2, 3]
    log_p = log_softmax(teacher[ROWS][kept])
    kl = (np.exp(log_p) * (log_p - log_softmax(student[kept]))).sum(1).mean()
    assert scored(task, outputs={"a": student}).loss == pytest.approx(kl)


def test_with_labels_the_score_is_the_metric_and_the_loss_that_on_labels_alone() -> None:
    labels, student = torch.tensor([0, 1, 2, 0, 1, 2]), noise(3, 1)[ROWS]
    task = labelled("a", CLASS, "class", labels, 3)
    rows, truth = [0, 2, 3], labels[ROWS][[0, 2, 3]]
    accuracy = float((student[rows].argmax(1) == truth).double().mean())
    nll = -log_softmax(student)[rows, truth].mean()
    smoothed = {"label_smoothing": 0.3, "class_weights": "balanced"}
    by_loss = scored(task, outputs={"a": student}, select_by="loss")
    assert scored(task, outputs={"a": student}, **smoothed) == Scored(accuracy, by_loss.loss)
    assert by_loss.loss == pytest.approx(nll)
    assert by_loss.score == -(by_loss.loss or 0.0)


def test_several_tasks_count_equally_whatever_their_units() -> None:
    truth, student, teacher = noise(1, 0), noise(1, 1)[ROWS], noise(3, 2)
    classes = noise(3, 3)[ROWS]
    for unit in (1.0, 1000.0):
        spec = ValueOutput(kind="value", mean=10.0 * unit, std=4.0 * unit)
        number = labelled("size", spec, "value", truth[:, 0] * 4.0 * unit + 10.0 * unit, 1)
        length = taught("length", spec, (truth, 1.0))
        outputs = {"size": student, "length": student, "a": classes}
        found = scored(number, length, taught("a", CLASS, (teacher, 1.0)), outputs=outputs, select_by="loss")
        error = (student - truth[ROWS]).square().double()
        kl = scored(taught("a", CLASS, (teacher, 1.0)), outputs={"a": classes}).loss or 0.0
        mse, rmse = float(error[[0, 2, 3]].mean()), float(error.mean().sqrt())
        assert found.loss == pytest.approx((mse + rmse + kl) / 3, rel=1e-4)
        named = scored(number, outputs={"size": student}, select_by="mae")
        among = scored(number, taught("a", CLASS, (teacher, 1.0)), outputs=outputs, select_by="mae")
        assert among.score == pytest.approx((named.score or 0.0) / (4.0 * unit), rel=1e-4)


def test_outputs_that_are_not_finite_have_no_score() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    found = scored(
        labelled("a", CLASS, "class", labels, 3), outputs={"a": torch.full((4, 3), torch.nan)}, select_by="loss"
    )
    assert found == Scored(None, None)


def test_teachers_that_a_candidate_lends_have_no_part_in_the_measure() -> None:
    own, lent = (TeacherOutputs(noise(3, seed), CLASS, 0.5) for seed in (0, 1))
    task = BuiltTask(Task("a", CLASS, None, 1.0, ()), None, (own, lent))
    found = ScoredTask.of(task, [TeacherRef(columns="own", weight=2.0)], ROWS)
    assert found is not None
    assert [(each.weight, each.values is own.values) for each in found.teachers] == [(2.0, True)]
    assert ScoredTask.of(task, [], ROWS) is None


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        ([(0.5, 1.0), (0.9, 3.0), (0.7, 0.1)], (1, 1, "score")),
        ([(0.9, 2.0), (0.9, 1.0), (0.5, 0.1)], (1, 2, "loss")),
        ([(0.9, 1.0), (0.9, 1.0), (0.9, 2.0)], (1, 3, "values")),
        ([(0.9, None), (0.9, 5.0), (None, 0.0)], (1, 2, "loss")),
        ([(None, None), (-7.0, 7.0), (None, None)], (1, 1, "score")),
    ],
)
def test_the_score_decides_then_the_loss_then_the_values(
    measures: list[tuple[float | None, float | None]], expected: tuple[int, int, str]
) -> None:
    order = [3, 1, 2]
    choice = best_of([Scored(*each) for each in measures], order)
    assert (choice.index, choice.tied, choice.decided_by) == expected
    backwards = best_of([Scored(*each) for each in reversed(measures)], order[::-1])
    assert (2 - backwards.index, backwards.tied, backwards.decided_by) == expected
