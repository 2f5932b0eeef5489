"""Metrics of a party on a task, over the labelled rows.

| kind | metrics |
|---|---|
| class | accuracy, nll (nats), ece (15 bins, Guo 2017), brier (sum over classes, Brier 1950), macro_f1, auroc |
| token_class | accuracy, nll (nats) and macro_f1 over all labelled tokens; entity_f1 of `B-…`, `I-…`, `O` |
| map | mean_iou (mean over classes of intersection / union), accuracy, macro_f1, nll (nats) over labelled pixels |
| multilabel | accuracy and nll (nats) over all valid labels, macro_f1 and auroc over labels |
| value | rmse, mae, r2 in the target's units |
| vector | rmse over all numbers, cosine over rows |

`rows` is the number of labelled rows, of a teacher those that it has outputs for. A metric that is undefined on them
(auroc of one class, r2 of a constant) or not finite is None. Which direction of a metric is better:
`app.contracts.specs.supervision.metrics`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, nll_loss

from app.contracts.resources.manifests import OutputSpec, TokenClassOutput
from app.contracts.specs.distillation import TaskKind
from app.contracts.specs.supervision.metrics import MetricName, as_score
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.auroc import binary_auroc
from workers.engine.evaluation.metrics.calibration import confidence_bins
from workers.engine.evaluation.metrics.entities import entity_f1, names_entities
from workers.engine.evaluation.metrics.labels import labelled_part
from workers.engine.evaluation.metrics.outputs import PartyOutputs, in_target_units, label_logits
from workers.engine.evaluation.metrics.overlap import mean_iou, overlaps
from workers.engine.losses.softmax import log_probabilities
from workers.engine.losses.unit_vectors import unit

Metrics = dict[str, float | None]
_MAPS = 64
"""Maps whose probabilities are computed at a time."""


def task_metrics(
    outputs: Tensor, spec: OutputSpec, target: TargetColumn, rows: Tensor, *, ranking: bool = True
) -> Metrics:
    """Metrics of raw `outputs` ([n, size]) for dataset rows `rows` (int64 [n]); {} if no row has a label.

    `ranking=False` omits auroc, which sorts once for each class: for the validation of every epoch.
    """
    positions, labels = labelled_part(target, rows)
    if len(positions) == 0:
        return {}
    measured = _MEASURES[spec.kind](outputs[positions].detach().cpu(), spec, labels.cpu(), ranking)
    finite = {name: value if value is not None and math.isfinite(value) else None for name, value in measured.items()}
    return {**finite, "rows": float(len(positions))}


def party_metrics(party: PartyOutputs, target: TargetColumn, rows: Tensor, *, ranking: bool = True) -> Metrics:
    """`task_metrics` of a party for dataset rows `rows` (int64 [n]), over those that it has outputs for."""
    positions = party.positions
    return task_metrics(party.values[positions], party.spec, target, rows[positions], ranking=ranking)


def score(metrics: Metrics, kind: TaskKind) -> float:
    """The score by which epochs are selected, higher is better; minus infinity without metrics.

    Accuracy for class, token_class and multilabel tasks, mean IoU for maps; R² for values (it ranks like rmse on the
    same rows, but is dimensionless, so that tasks can be averaged), or minus rmse where R² is undefined; minus rmse for
    vectors.
    """
    name = headline(metrics, kind)
    value = metrics.get(name)
    return as_score(name, value) if value is not None else -math.inf


def headline(metrics: Metrics, kind: TaskKind) -> MetricName:
    """The name of the metric that `score` takes."""
    name = _HEADLINE[kind]
    return "rmse" if name == "r2" and metrics.get(name) is None else name


def _class_metrics(outputs: Tensor, spec: OutputSpec, labels: Tensor, ranking: bool) -> Metrics:
    # float64: in float32 all probabilities above 1 - 6e-8 are ties, and auroc ranks confident rows.
    log_p = log_probabilities(outputs.double(), spec)
    p = log_p.exp().clamp(max=1.0)
    predicted = log_p.argmax(dim=1)
    classes = log_p.shape[1]
    measured: Metrics = {
        "accuracy": float((predicted == labels).double().mean()),
        "nll": nll_loss(log_p, labels).item(),
        "ece": confidence_bins(log_p, labels).calibration_error,
        "brier": _brier(p, labels),
        "macro_f1": _macro_f1(predicted, labels, classes),
    }
    if ranking:
        measured["auroc"] = _one_versus_rest_auroc(p, labels)
    return measured


def _token_metrics(outputs: Tensor, spec: OutputSpec, labels: Tensor, ranking: bool) -> Metrics:
    assert isinstance(spec, TokenClassOutput)
    known = labels >= 0
    measured = _class_metrics(outputs[known], spec.of_a_position, labels[known].long(), ranking=False)
    found = {name: measured[name] for name in ("accuracy", "nll", "macro_f1")}
    if not names_entities(spec.classes):
        return found
    return {**found, "entity_f1": entity_f1(outputs.argmax(dim=2), labels, spec.classes or ())}


def _map_metrics(outputs: Tensor, spec: OutputSpec, labels: Tensor, ranking: bool) -> Metrics:
    """Over blocks of rows, as maps have many pixels: counts of rows and classes, and the sum of −log p."""
    predicted, classes = outputs.argmax(dim=2), outputs.shape[2]
    hits, unions = overlaps(predicted, labels, classes)
    known = labels >= 0
    parts = zip(*(torch.split(each, _MAPS) for each in (outputs, labels, known)), strict=True)
    nll = math.fsum(_nll(*part) for part in parts)
    totals, all_unions = hits.sum(0), unions.sum(0)
    occurring = all_unions > 0
    return {
        "mean_iou": mean_iou(hits, unions),
        "accuracy": float(hits.sum() / known.sum()),
        "macro_f1": float((2.0 * totals / (all_unions + totals))[occurring].mean()),
        "nll": nll / int(known.sum()),
    }


def _nll(outputs: Tensor, labels: Tensor, known: Tensor) -> float:
    return float(nll_loss(outputs[known].double().log_softmax(1), labels[known].long(), reduction="sum"))


def _brier(p: Tensor, labels: Tensor) -> float:
    """Mean over rows of sum_c (p_c - y_c)² = sum_c p_c² - 2 p_y + 1, without a one-hot matrix."""
    p_label = p.gather(1, labels[:, None]).reshape(-1)
    return float((p.square().sum(dim=1) - 2.0 * p_label + 1.0).mean())


def _macro_f1(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Mean F1 = 2 tp / (2 tp + fp + fn) over the classes that occur as label or prediction.

    No table of classes² counts, which would need gigabytes for many classes.
    """
    correct = torch.bincount(labels[predicted == labels], minlength=classes).double()
    total = torch.bincount(labels, minlength=classes) + torch.bincount(predicted, minlength=classes)
    occurring = total > 0
    return float((2.0 * correct[occurring] / total[occurring]).mean())


def _one_versus_rest_auroc(p: Tensor, labels: Tensor) -> float | None:
    """Mean area under the one-versus-rest ROC curve, over the classes that occur; None if only one occurs."""
    present = torch.bincount(labels).nonzero().reshape(-1)
    if len(present) < 2:
        return None
    areas = [binary_auroc(p[:, c], labels == c) for c in present.tolist()]
    return sum(areas) / len(areas)


def _multilabel_metrics(outputs: Tensor, spec: OutputSpec, labels: Tensor, ranking: bool) -> Metrics:
    logits = label_logits(outputs, spec)
    valid = ~labels.isnan()
    known = valid.any(dim=0)
    predicted, truth = logits > 0.0, labels > 0.5
    measured: Metrics = {
        "accuracy": float((predicted[valid] == truth[valid]).double().mean()),
        "nll": binary_cross_entropy_with_logits(logits[valid], labels[valid].double()).item(),
        "macro_f1": _macro_label_f1((predicted & valid)[:, known], (truth & valid)[:, known]),
    }
    if ranking:
        measured["auroc"] = _label_auroc(logits, truth, valid)
    return measured


def _macro_label_f1(predicted: Tensor, truth: Tensor) -> float:
    """Mean F1 over labels of which some row is known, bool [n, labels] both, False where a label is missing. A label
    without positives in truth and prediction counts as 0 (scikit-learn's default).
    """
    correct = (predicted & truth).sum(dim=0).double()
    total = (predicted.sum(dim=0) + truth.sum(dim=0)).double()
    return float((2.0 * correct / total.clamp(min=1.0)).mean())


def _label_auroc(scores: Tensor, truth: Tensor, valid: Tensor) -> float | None:
    """Mean area under the ROC curve over the labels that are both 0 and 1 in some rows; None without any."""
    areas = []
    for label in range(truth.shape[1]):
        known = valid[:, label]
        values = truth[known, label]
        if values.any() and not values.all():
            areas.append(binary_auroc(scores[known, label], values))
    return sum(areas) / len(areas) if areas else None


def _value_metrics(outputs: Tensor, spec: OutputSpec, labels: Tensor, ranking: bool) -> Metrics:
    predicted = in_target_units(outputs, spec).reshape(-1)
    truth = labels.double().reshape(-1)
    error = predicted - truth
    varies = bool((truth != truth[0]).any())
    return {
        "rmse": _rmse(error),
        "mae": float(error.abs().mean()),
        "r2": float(1.0 - error.square().sum() / (truth - truth.mean()).square().sum()) if varies else None,
    }


def _vector_metrics(outputs: Tensor, spec: OutputSpec, labels: Tensor, ranking: bool) -> Metrics:
    predicted, truth = in_target_units(outputs, spec), labels.double()
    return {
        "rmse": _rmse(predicted - truth),
        "cosine": float((unit(predicted) * unit(truth)).sum(dim=1).mean()),
    }


def _rmse(error: Tensor) -> float:
    """Root mean square of errors float64 of any shape."""
    return float(error.square().mean().sqrt())


_HEADLINE: dict[TaskKind, MetricName] = {
    "class": "accuracy",
    "token_class": "accuracy",
    "map": "mean_iou",
    "multilabel": "accuracy",
    "value": "r2",
    "vector": "rmse",
}
"""The metric that epochs are selected by; minus rmse where R² is undefined."""
COMPARED: dict[TaskKind, MetricName] = {
    "class": "accuracy",
    "token_class": "accuracy",
    "map": "mean_iou",
    "multilabel": "accuracy",
    "value": "rmse",
    "vector": "rmse",
}
"""The metric by which two networks are compared."""
_MEASURES: dict[TaskKind, Callable[[Tensor, OutputSpec, Tensor, bool], Metrics]] = {
    "class": _class_metrics,
    "token_class": _token_metrics,
    "map": _map_metrics,
    "multilabel": _multilabel_metrics,
    "value": _value_metrics,
    "vector": _vector_metrics,
}
