"""What rows add to a metric: their mean is the metric, their spread its derivative by the rows' weights."""

import math

import pytest
import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from app.contracts.specs.distillation import TaskKind
from tests.engine.evaluation.cases import seeded, target_of
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.verdict.contributions import contributions

CLASSES, LABELS = ClassOutput(kind="class", output="energies"), MultilabelOutput(kind="multilabel")
VALUE, VECTOR = ValueOutput(kind="value", mean=100.0, std=10.0), VectorOutput(kind="vector")


def case(kind: str) -> tuple[Tensor, OutputSpec, Tensor]:
    """Outputs, what they mean, labels; of 60 rows."""
    generator = seeded(1)
    outputs = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    if kind == "class":
        return outputs, CLASSES, torch.randint(3, (60,), generator=generator)
    if kind == "multilabel":
        truth = (torch.rand(60, 3, generator=generator) < 0.4).double()
        truth[torch.rand(60, 3, generator=generator) < 0.2] = math.nan
        truth[0] = torch.tensor([1.0, 0.0, math.nan])
        return outputs, LABELS, truth
    if kind == "value":
        return outputs[:, :1], VALUE, 100.0 + 10.0 * torch.randn(60, generator=generator, dtype=torch.float64)
    return outputs, VECTOR, torch.randn(60, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("kind", "metric", "sign"), [
    ("class", "accuracy", 1.0), ("multilabel", "accuracy", 1.0), ("value", "rmse", -1.0), ("vector", "rmse", -1.0)
])  # fmt: skip
def test_their_mean_is_the_metric(kind: TaskKind, metric: str, sign: float) -> None:
    outputs, spec, labels = case(kind)
    kept = ~labels.isnan().all(1) if kind == "multilabel" else torch.ones(60, dtype=torch.bool)
    measured = task_metrics(outputs, spec, target_of(labels, kind, 3), torch.arange(60))[metric]
    assert measured is not None
    found = contributions(outputs[kept], spec, labels[kept])
    assert float(found.mean()) == pytest.approx(sign * measured, rel=1e-6)


def weighted_metric(outputs: Tensor, spec: OutputSpec, labels: Tensor, weights: Tensor) -> Tensor:
    """Minus rmse, or accuracy over valid labels, where row r counts `weights[r]` times."""
    if isinstance(spec, MultilabelOutput):
        valid = ~labels.isnan()
        right = ((outputs > 0) == (labels > 0.5)) & valid
        return (weights * right.sum(1)).sum() / (weights * valid.sum(1)).sum()
    numbers = outputs * spec.std + spec.mean if isinstance(spec, ValueOutput) else outputs
    errors = (numbers - labels.reshape(numbers.shape)).square().mean(1)
    return -((weights * errors).sum() / weights.sum()).sqrt()


@pytest.mark.parametrize("kind", ["multilabel", "value", "vector"])
def test_a_row_moves_the_metric_by_what_it_adds(kind: str) -> None:
    """Rows times the metric's derivative by a row's weight is what the row adds, less the metric."""
    outputs, spec, labels = case(kind)
    kept = ~labels.isnan().all(1) if kind == "multilabel" else torch.ones(60, dtype=torch.bool)
    outputs, labels = outputs[kept], labels[kept]
    weights = torch.ones(len(labels), dtype=torch.float64, requires_grad=True)
    metric = weighted_metric(outputs, spec, labels, weights)
    (slope,) = torch.autograd.grad(metric, weights)
    torch.testing.assert_close(contributions(outputs, spec, labels), metric.detach() + len(labels) * slope)


def test_a_network_without_any_error_adds_nothing() -> None:
    truth = torch.tensor([1.0, 2.0, 3.0])
    found = contributions(truth[:, None], ValueOutput(kind="value"), truth)
    assert found.tolist() == [0.0, 0.0, 0.0]
