"""Δm by hand: signs, means, what is undefined; and who gained, who paid."""

import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.verdict.baselines import against_baselines, baseline_report
from workers.engine.evaluation.verdict.delta_m import compare_metric, delta_m, mean_over_metrics, mean_over_tasks

ROWS = torch.arange(400)
LABELS = ROWS % 2


def task(spec: OutputSpec, values: Tensor, size: int = 1) -> EvaluatedTask:
    return EvaluatedTask("t", spec, TargetColumn(spec.kind, size, values, torch.ones(len(values), dtype=torch.bool)))


def classes(wrong: int) -> Tensor:
    """Logits of a network that errs on the first `wrong` rows."""
    predicted = torch.where(wrong > ROWS, 1 - LABELS, LABELS)
    return torch.nn.functional.one_hot(predicted, 2).float()


@pytest.mark.parametrize(
    ("metric", "student", "baseline", "expected"),
    [
        ("accuracy", 0.9, 0.8, 12.5),
        ("accuracy", 0.6, 0.8, -25.0),
        ("macro_f1", 0.5, 0.4, 25.0),
        ("rmse", 1.5, 2.0, 25.0),
        ("rmse", 3.0, 2.0, -50.0),
        ("rmse", 2.0, 2.0, 0.0),
        ("accuracy", 0.5, 0.0, None),
        ("rmse", 0.5, 0.0, None),
    ],
)
def test_delta_m_is_relative_and_positive_is_better(
    metric: str, student: float, baseline: float, expected: float | None
) -> None:
    found = delta_m(metric, student, baseline)
    assert found == (pytest.approx(expected) if expected is not None else None)


def test_metrics_are_averaged_first_and_then_tasks() -> None:
    """(25 - 25) / 2 = 0 of the first task, 50 of the second: 25, and not 50 / 3."""
    first, _ = mean_over_metrics(
        {"accuracy": compare_metric("accuracy", 0.5, 0.4), "macro_f1": compare_metric("macro_f1", 0.3, 0.4)}
    )
    second, _ = mean_over_metrics({"rmse": compare_metric("rmse", 1.0, 2.0)})
    assert first == pytest.approx(0.0)
    found, missing = mean_over_tasks({"a": first, "b": second})
    assert found == pytest.approx(25.0)
    assert missing is None


def test_what_is_undefined_is_left_out_and_reported() -> None:
    zero, unknown = compare_metric("macro_f1", 0.5, 0.0), compare_metric("accuracy", None, 0.5)
    assert (zero.delta_m, zero.reason) == (None, "macro_f1 of the baseline is 0")
    assert (unknown.delta_m, unknown.reason) == (None, "accuracy of the student is undefined")
    known = compare_metric("accuracy", 0.9, 0.6)
    found, missing = mean_over_metrics({"accuracy": known, "macro_f1": zero})
    assert found == pytest.approx(50.0)
    assert missing == "macro_f1 of the baseline is 0"
    assert mean_over_metrics({"macro_f1": zero}) == (None, "macro_f1 of the baseline is 0")
    assert mean_over_tasks({"a": None, "b": 3.0}) == (3.0, "without `a`")
    assert mean_over_tasks({"a": None}) == (None, "without `a`")


@pytest.mark.parametrize(
    ("student", "baseline", "verdict"), [(20, 100, "provisional_gain"), (100, 20, "provisional_loss")]
)
def test_one_task_gains_what_another_pays(student: int, baseline: int, verdict: str) -> None:
    found = against_baselines(task(ClassOutput(kind="class"), LABELS, 2), [classes(student)], [classes(baseline)], ROWS)
    assert found.verdict == verdict
    right = [(400 - wrong) / 400 for wrong in (student, baseline)]
    assert found.student == pytest.approx(right[0])
    assert found.baseline == pytest.approx(right[1])
    assert found.delta_m == pytest.approx(100 * (right[0] - right[1]) / right[1])
    assert found.method.startswith("Accuracy, student - baseline")
    assert "control" not in found.method


def test_equal_networks_on_many_rows_neither_gain_nor_pay_and_on_few_nobody_knows() -> None:
    rows = torch.arange(40_000)
    labels = rows % 2
    sure = torch.nn.functional.one_hot(labels, 2).float()
    many = against_baselines(task(ClassOutput(kind="class"), labels, 2), [sure] * 3, [sure] * 3, rows)
    assert (many.verdict, many.delta_m) == ("no_gain", 0.0)
    few = against_baselines(task(ClassOutput(kind="class"), LABELS, 2), [classes(41)] * 3, [classes(40)] * 3, ROWS)
    assert few.verdict == "inconclusive"


def test_a_value_task_gains_where_its_error_falls() -> None:
    truth = torch.linspace(-1.0, 1.0, 400)
    noise = torch.where(ROWS % 2 == 0, 1.0, -1.0)
    outputs = [(truth + width * noise)[:, None] for width in (0.1, 0.2)]
    found = against_baselines(task(ValueOutput(kind="value"), truth), outputs[:1], outputs[1:], ROWS)
    assert (found.verdict, found.metric) == ("provisional_gain", "rmse")
    assert found.delta_m == pytest.approx(50.0, rel=1e-4)
    assert found.difference == pytest.approx(0.1, rel=1e-4)


def test_labels_count_by_accuracy_and_macro_f1() -> None:
    """A baseline that never says yes has no F1: only its accuracy can be compared."""
    truth = torch.zeros(400, 2)
    truth[:40] = 1.0
    never, always_right = torch.full((400, 2), -1.0), 2.0 * truth - 1.0
    found = against_baselines(task(MultilabelOutput(kind="multilabel"), truth, 2), [always_right], [never], ROWS)
    assert found.metrics["accuracy"].delta_m == pytest.approx(100 * 0.1 / 0.9)
    assert found.metrics["macro_f1"].delta_m is None
    assert found.delta_m == pytest.approx(100 * 0.1 / 0.9)
    assert found.reason == "macro_f1 of the baseline is 0"


def test_over_seeds_delta_m_compares_the_means() -> None:
    students, baselines = [classes(40), classes(60), classes(80)], [classes(100), classes(100), classes(100)]
    found = against_baselines(task(ClassOutput(kind="class"), LABELS, 2), students, baselines, ROWS)
    assert found.delta_m == pytest.approx(100 * (0.85 - 0.75) / 0.75)
    assert (found.repeats, found.students) == (3, (0.9, 0.85, 0.8))


@pytest.mark.parametrize("missing", ["labels", "rows", "baseline"])
def test_what_cannot_be_compared_is_not_applicable_and_leaves_the_mean_alone(missing: str) -> None:
    subject = task(ClassOutput(kind="class"), LABELS, 2)
    if missing == "labels":
        subject = EvaluatedTask("t", subject.spec, None)
    rows = ROWS[:0] if missing == "rows" else ROWS
    outputs = [classes(10)[rows]]
    found = against_baselines(subject, outputs, [] if missing == "baseline" else outputs, rows)
    assert (found.verdict, found.delta_m) == ("not_applicable", None)
    assert found.reason
    other = against_baselines(task(ClassOutput(kind="class"), LABELS, 2), [classes(20)], [classes(100)], ROWS)
    report = baseline_report({"t": found, "other": other})
    assert report.delta_m == other.delta_m
    assert report.reason == "without `t`"
