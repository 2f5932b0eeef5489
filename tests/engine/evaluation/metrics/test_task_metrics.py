"""Metrics against formulas written apart from them (scikit-learn, NumPy)."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from app.contracts.specs.distillation import TaskKind
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.task_metrics import Metrics, score, task_metrics

LOGITS = ClassOutput(kind="class")


def class_target(labels: Tensor, classes: int) -> TargetColumn:
    return TargetColumn(kind="class", size=classes, values=labels, labelled=labels >= 0, classes=None, predicts=None)


def number_target(values: Tensor, kind: TaskKind, size: int) -> TargetColumn:
    known = ~values.isnan() if values.dim() == 1 else ~values.isnan().any(dim=1)
    if kind == "multilabel":
        known = ~values.isnan().all(dim=1)
    return TargetColumn(kind=kind, size=size, values=values, labelled=known, classes=None, predicts=None)


def figure(metrics: Metrics, name: str) -> float:
    value = metrics[name]
    assert value is not None, f"{name} is undefined"
    return value


@pytest.fixture
def ten_classes() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(10, (500,), generator=generator)
    logits = torch.randn(500, 10, generator=generator)
    logits[torch.arange(500), labels] += 1.5
    return logits, labels


def measured(logits: Tensor, labels: Tensor, spec: OutputSpec = LOGITS) -> Metrics:
    return task_metrics(logits, spec, class_target(labels, logits.shape[1]), torch.arange(len(labels)))


def test_class_metrics_equal_scikit_learns(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    p, y = logits.double().softmax(dim=1).numpy(), labels.numpy()
    found = measured(logits, labels)
    assert figure(found, "accuracy") == pytest.approx(sk.accuracy_score(y, p.argmax(1)), abs=1e-6)
    assert figure(found, "nll") == pytest.approx(sk.log_loss(y, p, labels=range(10)), abs=1e-6)
    assert figure(found, "macro_f1") == pytest.approx(sk.f1_score(y, p.argmax(1), average="macro"), abs=1e-6)
    assert figure(found, "auroc") == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"), abs=1e-6)
    assert figure(found, "brier") == pytest.approx(((p - np.eye(10)[y]) ** 2).sum(1).mean(), abs=1e-6)
    assert found["rows"] == 500


def test_calibration_error_uses_15_equal_bins(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    p, y = logits.double().softmax(dim=1).numpy(), labels.numpy()
    confidence, right = p.max(1), p.argmax(1) == y
    edges = np.linspace(0.0, 1.0, 16)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & (confidence < high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert figure(measured(logits, labels), "ece") == pytest.approx(expected, abs=1e-5)


def test_a_certain_and_right_network_is_perfect_in_every_metric() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    logits = torch.nn.functional.one_hot(labels, 3) * 1000.0
    found = measured(logits, labels)
    assert (found["accuracy"], found["macro_f1"], found["auroc"]) == (1.0, 1.0, 1.0)
    for name in ("nll", "ece", "brier"):
        assert figure(found, name) == pytest.approx(0.0, abs=1e-6)


def test_confident_rows_keep_their_order_in_auroc() -> None:
    """Logits of 18 to 34: every probability rounds to 1 or 0 in float32, and still ranks rightly."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    gap = torch.tensor([34.0, 32.0, 30.0, 22.0, 20.0, 18.0])
    found = measured(torch.stack([gap, torch.zeros(6)], dim=1), labels)
    assert found["auroc"] == 1.0


@pytest.mark.parametrize("output", ["probabilities", "log_probabilities", "energies"])
def test_every_way_to_say_scores_gives_the_same_metrics(output: str, ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    outputs = {
        "probabilities": logits.softmax(dim=1),
        "log_probabilities": logits.log_softmax(dim=1),
        "energies": -logits,
    }[output]
    spec = ClassOutput.model_validate({"kind": "class", "output": output})
    found, expected = measured(outputs, labels, spec), measured(logits, labels)
    for name in expected:
        assert figure(found, name) == pytest.approx(figure(expected, name), abs=1e-4), name


def test_rows_without_a_label_are_left_out_and_counted(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    some = labels.clone()
    some[::3] = -1
    kept = some >= 0
    assert measured(logits, some) == measured(logits[kept], labels[kept])
    assert measured(logits, some)["rows"] == int(kept.sum())


def test_only_the_rows_asked_for_are_measured(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    rows = torch.tensor([7, 3, 400])
    found = task_metrics(logits[rows], LOGITS, class_target(labels, 10), rows)
    assert found == measured(logits[rows], labels[rows])


def test_no_label_gives_no_metrics(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    assert measured(logits, torch.full_like(labels, -1)) == {}
    assert measured(logits[:0], labels[:0]) == {}


def test_auroc_of_one_class_is_undefined_and_absent_classes_are_left_out(
    ten_classes: tuple[Tensor, Tensor],
) -> None:
    logits, labels = ten_classes
    one = labels == 4
    assert measured(logits[one], labels[one])["auroc"] is None
    two = (labels == 4) | (labels == 7)
    p, y = logits[two].double().softmax(1).numpy(), labels[two].numpy()
    expected = (sk.roc_auc_score(y == 4, p[:, 4]) + sk.roc_auc_score(y == 7, p[:, 7])) / 2
    assert figure(measured(logits[two], labels[two]), "auroc") == pytest.approx(expected, abs=1e-6)


def test_many_classes_cost_no_table_of_their_square() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 60_000, generator=generator)
    labels = torch.randint(60_000, (64,), generator=generator)
    found = measured(logits, labels)
    predicted = logits.argmax(1)
    assert figure(found, "macro_f1") == pytest.approx(sk.f1_score(labels, predicted, average="macro", zero_division=0))


def test_validation_may_leave_out_the_ranking(ten_classes: tuple[Tensor, Tensor]) -> None:
    logits, labels = ten_classes
    whole = measured(logits, labels)
    quick = task_metrics(logits, LOGITS, class_target(labels, 10), torch.arange(500), ranking=False)
    assert quick == {name: value for name, value in whole.items() if name != "auroc"}


def test_a_number_that_is_not_finite_is_null() -> None:
    spec = ClassOutput(kind="class", output="log_probabilities")
    logs = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]])
    assert measured(logs, torch.tensor([1, 0]), spec)["nll"] is None


@pytest.fixture
def labels_of_four() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    truth = (torch.rand(300, 4, generator=generator) < 0.3).float()
    return torch.randn(300, 4, generator=generator) + 2.0 * truth - 1.0, truth


def test_multilabel_metrics_equal_scikit_learns(labels_of_four: tuple[Tensor, Tensor]) -> None:
    logits, truth = labels_of_four
    found = task_metrics(
        logits, MultilabelOutput(kind="multilabel"), number_target(truth, "multilabel", 4), torch.arange(300)
    )
    p, y, yes = logits.double().sigmoid().numpy(), truth.numpy(), (logits > 0).numpy()
    assert figure(found, "accuracy") == pytest.approx((yes == y).mean(), abs=1e-6)
    assert figure(found, "nll") == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean(), abs=1e-6)
    assert figure(found, "macro_f1") == pytest.approx(sk.f1_score(y, yes, average="macro"), abs=1e-6)
    assert figure(found, "auroc") == pytest.approx(sk.roc_auc_score(y, p), abs=1e-6)


def test_missing_elements_of_a_multilabel_row_are_left_out(labels_of_four: tuple[Tensor, Tensor]) -> None:
    logits, truth = labels_of_four
    holed = truth.clone()
    holed[::2, 1] = math.nan
    found = task_metrics(
        logits, MultilabelOutput(kind="multilabel"), number_target(holed, "multilabel", 4), torch.arange(300)
    )
    valid, yes = ~holed.isnan().numpy(), (logits > 0).numpy()
    y, p = truth.numpy(), logits.double().sigmoid().numpy()
    assert figure(found, "accuracy") == pytest.approx((yes == y)[valid].mean(), abs=1e-6)
    areas = [sk.roc_auc_score(y[valid[:, i], i], p[valid[:, i], i]) for i in range(4)]
    assert figure(found, "auroc") == pytest.approx(np.mean(areas), abs=1e-6)
    f1 = [sk.f1_score(y[valid[:, i], i], yes[valid[:, i], i]) for i in range(4)]
    assert figure(found, "macro_f1") == pytest.approx(np.mean(f1), abs=1e-6)


def test_a_single_label_is_a_multilabel_task_too(labels_of_four: tuple[Tensor, Tensor]) -> None:
    logits, truth = labels_of_four[0][:, :1], labels_of_four[1][:, :1]
    found = task_metrics(
        logits, MultilabelOutput(kind="multilabel"), number_target(truth, "multilabel", 1), torch.arange(300)
    )
    expected = sk.f1_score(truth.numpy().ravel(), (logits > 0).numpy().ravel())
    assert figure(found, "macro_f1") == pytest.approx(expected, abs=1e-6)


def test_value_metrics_are_in_the_targets_own_units() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = 300.0 + 40.0 * torch.randn(200, generator=generator)
    standardised = ((truth - 300.0) / 40.0 + 0.1 * torch.randn(200, generator=generator))[:, None]
    found = task_metrics(
        standardised,
        ValueOutput(kind="value", mean=300.0, std=40.0),
        number_target(truth, "value", 1),
        torch.arange(200),
    )
    predicted = standardised.numpy().ravel() * 40.0 + 300.0
    assert figure(found, "rmse") == pytest.approx(sk.root_mean_squared_error(truth, predicted), rel=1e-5)
    assert figure(found, "mae") == pytest.approx(sk.mean_absolute_error(truth, predicted), rel=1e-5)
    assert figure(found, "r2") == pytest.approx(sk.r2_score(truth, predicted), rel=1e-5)


def test_r2_of_constant_truth_is_undefined() -> None:
    outputs, truth = torch.tensor([[1.0], [2.0]]), torch.tensor([1.5, 1.5])
    found = task_metrics(outputs, ValueOutput(kind="value"), number_target(truth, "value", 1), torch.arange(2))
    assert found["r2"] is None
    assert figure(found, "rmse") == pytest.approx(0.5)


def test_vector_metrics() -> None:
    generator = torch.Generator().manual_seed(2)
    truth = torch.randn(50, 6, generator=generator)
    outputs = truth + 0.3 * torch.randn(50, 6, generator=generator)
    found = task_metrics(outputs, VectorOutput(kind="vector"), number_target(truth, "vector", 6), torch.arange(50))
    a, b = outputs.double().numpy(), truth.double().numpy()
    assert figure(found, "rmse") == pytest.approx(np.sqrt(((a - b) ** 2).mean()))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    assert figure(found, "cosine") == pytest.approx(((a * b).sum(1) / norms).mean())


@pytest.mark.parametrize(
    ("kind", "better", "worse"),
    [
        ("class", {"accuracy": 0.9, "nll": 2.0}, {"accuracy": 0.8, "nll": 0.1}),
        ("multilabel", {"accuracy": 0.9}, {"accuracy": 0.8}),
        ("value", {"rmse": 1.0, "r2": 0.9}, {"rmse": 2.0, "r2": 0.6}),
        ("value", {"rmse": 1.0, "r2": None}, {"rmse": 2.0, "r2": None}),
        ("vector", {"rmse": 1.0}, {"rmse": 2.0}),
        ("class", {"accuracy": 0.0}, {}),
    ],
)
def test_a_higher_score_is_better(kind: TaskKind, better: Metrics, worse: Metrics) -> None:
    assert score(better, kind) > score(worse, kind)
