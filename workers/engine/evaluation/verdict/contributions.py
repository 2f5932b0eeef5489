"""The contribution of each test row to a network's metric: numbers whose mean over rows is the metric.

A metric that is not a mean over rows is linearised around its value (influence function, Hampel 1974), as in the delta
method. Higher is better for every kind of task.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.distillation import TaskKind
from workers.engine.evaluation.metrics.outputs import in_target_units, label_logits
from workers.engine.evaluation.metrics.overlap import mean_iou_by_row, overlaps
from workers.engine.losses.softmax import log_probabilities


def contributions(outputs: Tensor, spec: OutputSpec, labels: Tensor) -> Tensor:
    """Raw outputs [R, size] and labels (only elements of multilabel rows may be missing) -> float64 [R].

    class: 1 where the top class is correct. multilabel: with r correct among v valid labels of a row and accuracy
    a = Σr / Σv, a + (r - a v) / mean(v). token_class: the same of tokens. map: `mean_iou_by_row`. value,
    vector: with squared error e of a row and rmse = √mean(e), -(rmse + (e - rmse²) / (2 rmse)). Their means: accuracy,
    accuracy over valid labels or tokens, mean IoU, -rmse.
    """
    return _BY_KIND[spec.kind](outputs, spec, labels)


def _of_classes(outputs: Tensor, spec: OutputSpec, labels: Tensor) -> Tensor:
    return (log_probabilities(outputs.double(), spec).argmax(dim=1) == labels).double()


def _of_labels(outputs: Tensor, spec: OutputSpec, labels: Tensor) -> Tensor:
    valid = ~labels.isnan()
    return _of_shares((label_logits(outputs, spec) > 0.0) == (labels > 0.5), valid)


def _of_tokens(outputs: Tensor, spec: OutputSpec, labels: Tensor) -> Tensor:
    return _of_shares(outputs.argmax(dim=2) == labels, labels >= 0)


def _of_maps(outputs: Tensor, spec: OutputSpec, labels: Tensor) -> Tensor:
    return mean_iou_by_row(*overlaps(outputs.argmax(dim=2), labels, outputs.shape[2]))


def _of_shares(right: Tensor, valid: Tensor) -> Tensor:
    """Of an accuracy over all valid places of all rows, bool [R, places] both."""
    correct, count = (right & valid).sum(dim=1).double(), valid.sum(dim=1).double()
    accuracy = correct.sum() / count.sum()
    return accuracy + (correct - accuracy * count) / count.mean()


def _of_numbers(outputs: Tensor, spec: OutputSpec, labels: Tensor) -> Tensor:
    truth = labels.double().reshape(len(labels), -1)
    errors = (in_target_units(outputs, spec) - truth).square().mean(dim=1)
    rmse = errors.mean().sqrt()
    if rmse == 0.0:
        return torch.zeros_like(errors)
    return -(rmse + (errors - rmse.square()) / (2.0 * rmse))


_BY_KIND: dict[TaskKind, Callable[[Tensor, OutputSpec, Tensor], Tensor]] = {
    "class": _of_classes,
    "token_class": _of_tokens,
    "map": _of_maps,
    "multilabel": _of_labels,
    "value": _of_numbers,
    "vector": _of_numbers,
}
