"""What a quantized file loses: a test of non-inferiority on the same rows, by the words of its verdict."""

import pytest
import torch
from torch import Tensor

from app.contracts.reports.quantized import QuantizedVerdict
from app.contracts.resources.manifests import ClassOutput, ValueOutput
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.quantized import evaluate_quantized
from workers.engine.evaluation.verdict.judge import CLASS_MARGIN
from workers.engine.evaluation.verdict.quantized import verdict_of_quantized

LOGITS = ClassOutput(kind="class")


def classes(count: int) -> TargetColumn:
    labels = torch.zeros(count, dtype=torch.int64)
    return TargetColumn(kind="class", size=2, values=labels, labelled=labels >= 0, classes=None, predicts=None)


def logits_of(right: list[bool]) -> Tensor:
    return torch.tensor([[1.0, 0.0] if yes else [0.0, 1.0] for yes in right])


def verdict(both: int, quantized_only: int, student_only: int, neither: int) -> QuantizedVerdict:
    """Of a file and a student of which so many test rows are right by both, by one, by none."""
    quantized = [True] * both + [True] * quantized_only + [False] * student_only + [False] * neither
    student = [True] * both + [False] * quantized_only + [True] * student_only + [False] * neither
    count = len(student)
    return verdict_of_quantized(logits_of(quantized), logits_of(student), LOGITS, classes(count), torch.arange(count))


def test_a_loss_that_is_certainly_smaller_than_the_margin_keeps() -> None:
    found = verdict(both=9500, quantized_only=10, student_only=12, neither=478)
    assert found.verdict == "keeps"
    assert found.margin == CLASS_MARGIN
    assert found.interval is not None
    assert -CLASS_MARGIN <= found.interval[0] < 0.0 < found.interval[1]
    assert found.method.startswith("Keeps accuracy within")


def test_a_loss_that_is_certain_and_certainly_small_keeps_too() -> None:
    found = verdict(both=99_000, quantized_only=0, student_only=200, neither=800)
    assert found.verdict == "keeps"
    assert found.interval is not None
    assert found.interval[1] < 0.0


def test_a_gain_keeps() -> None:
    assert verdict(both=800, quantized_only=80, student_only=20, neither=100).verdict == "keeps"


def test_a_loss_above_the_margin_loses_and_says_how_much() -> None:
    found = verdict(both=800, quantized_only=20, student_only=80, neither=100)
    assert found.verdict == "loses"
    assert found.difference == pytest.approx(-0.06)
    assert found.quantized == pytest.approx(0.82)
    assert found.student == pytest.approx(0.88)
    assert found.method.startswith("Loses 0.06 of accuracy")


def test_few_rows_exclude_no_loss() -> None:
    found = verdict(both=30, quantized_only=0, student_only=0, neither=2)
    assert found.verdict == "undecided"
    assert found.difference == 0.0
    assert "do not exclude a loss above" in found.method


def test_a_task_without_labels_is_not_judged() -> None:
    outputs, rows = logits_of([True] * 4), torch.arange(4)
    assert verdict_of_quantized(outputs, outputs, LOGITS, None, rows).verdict == "not_applicable"
    empty = classes(4)
    unlabelled = TargetColumn(
        kind="class", size=2, values=empty.values - 1, labelled=empty.values < 0, classes=None, predicts=None
    )
    found = verdict_of_quantized(outputs, outputs, LOGITS, unlabelled, rows)
    assert (found.verdict, found.interval, found.confidence) == ("not_applicable", None, None)


def test_a_destroyed_file_loses_in_every_figure() -> None:
    """Answers by chance for classes, and a constant for a value."""
    random, rows = torch.Generator().manual_seed(0), torch.arange(400)
    truth = torch.randn(400, generator=random)
    value = TargetColumn(
        kind="value", size=1, values=truth, labelled=torch.ones(400, dtype=torch.bool), classes=None, predicts=None
    )
    number = ValueOutput(kind="value", mean=0.0, std=1.0)
    tasks = [EvaluatedTask("label", LOGITS, classes(400)), EvaluatedTask("size", number, value)]
    whole = {"label": logits_of([True] * 400), "size": truth[:, None] + 0.1}
    broken = {"label": torch.randn(400, 2, generator=random), "size": torch.zeros(400, 1)}
    found = evaluate_quantized(tasks, rows, broken, whole)
    assert {name: each.verdict for name, each in found.verdict.items()} == {"label": "loses", "size": "loses"}
    assert found.fidelity["label"].agreement is not None
    assert found.fidelity["label"].agreement < 0.7
    assert found.tasks["label"]["accuracy"] is not None
    assert found.tasks["label"]["accuracy"] < 0.7
    assert found.simulated == {}
