"""The verdict whether the teachers helped: the student compared with its control on the same test rows.

| task | compared | interval | margin |
|---|---|---|---|
| class | accuracy, student - control | Newcombe's paired score interval | 0.005 |
| multilabel | accuracy over valid labels, student - control | bootstrap over rows | 0.005 |
| token_class | accuracy over labelled tokens, student - control | bootstrap over rows | 0.005 |
| map | mean intersection over union, student - control | bootstrap over rows, linearised | 0.005 |
| value, vector | rmse, control - student | bootstrap over rows | 1 % of the control's rmse |

An interval inside ±margin is `no_gain` (a significant difference may still be irrelevant), else one that excludes 0 is
`gain` or `loss`, any other is `inconclusive`. One student and one control give provisional words only, as their
interval does not cover the noise of training. Several students and controls: `repeats`. Reasons:
`tests/architecture/decisions/engine/0040-how-a-verdict-is-reached.md`.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from app.contracts.reports.confidence import CONFIDENCE, level_text
from app.contracts.reports.report import Verdict
from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.distillation import TaskKind
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.labels import labelled_part
from workers.engine.evaluation.metrics.outputs import in_target_units, label_logits
from workers.engine.evaluation.metrics.overlap import mean_iou, mean_iou_by_row, overlaps
from workers.engine.evaluation.verdict.intervals import RESAMPLES, bootstrap_interval, newcombe_interval
from workers.engine.evaluation.verdict.power import settled_by_rows
from workers.engine.losses.softmax import log_probabilities

CLASS_MARGIN = 0.005
RELATIVE_VALUE_MARGIN = 0.01
MIN_ROWS_TO_RESAMPLE = 20

_NOT_COVERED = (
    "It covers the choice of test rows, not the noise of training (repeats: 1): another seed could move the figures by "
    "more."
)
_BOOTSTRAP = f"percentile bootstrap over test rows, {RESAMPLES} resamples, fixed seed"


def not_applicable(reason: str) -> Verdict:
    """The verdict without a comparison; `reason` is a clause such as `the dataset has no test split`."""
    return Verdict(verdict="not_applicable", method=f"Not judged: {reason}.")


def judge(
    student: Tensor, control: Tensor, spec: OutputSpec, target: TargetColumn, rows: Tensor, reference: str = "control"
) -> Verdict:
    """The verdict of one task; `reference` is the name of the control in its method.

    `student` and `control` are raw outputs [n, size], with the meaning `spec`, for the dataset rows `rows` (int64 [n]).
    Rows without a label are ignored; without any label the verdict is `not_applicable`.
    """
    positions, labels = labelled_part(target, rows)
    if len(positions) == 0:
        return not_applicable("no test row has a label")
    compare = _COMPARE[spec.kind]
    verdict = compare(student[positions].cpu(), control[positions].cpu(), spec, labels.cpu(), reference)
    return settled_by_rows(verdict, len(positions))


Conclusion = Literal["gain", "no_gain", "loss", "inconclusive"]
Provisional = Literal["provisional_gain", "provisional_loss", "undecided"]
_PROVISIONAL: dict[Conclusion, Provisional] = {"gain": "provisional_gain", "loss": "provisional_loss"}


def provisional(conclusion: Conclusion) -> Provisional:
    """The word for a conclusion from an interval that does not cover the noise of training."""
    return _PROVISIONAL.get(conclusion, "undecided")


def conclusion(interval: tuple[float, float], margin: float) -> Conclusion:
    """`no_gain` inside ±margin, else `gain` or `loss` where 0 is excluded, else `inconclusive`."""
    low, high = interval
    if -margin <= low and high <= margin:
        return "no_gain"
    if low > 0.0:
        return "gain"
    return "loss" if high < 0.0 else "inconclusive"


def _verdict(
    metric: str,
    student: float,
    control: float,
    difference: float,
    interval: tuple[float, float],
    margin: float,
    how: str,
) -> Verdict:
    return Verdict(
        verdict=provisional(conclusion(interval, margin)),
        metric=metric,
        student=student,
        control=control,
        difference=difference,
        margin=margin,
        interval=interval,
        confidence=CONFIDENCE,
        method=f"{how}, {level_text(CONFIDENCE)}, on the same test rows. {_NOT_COVERED}",
    )


def _too_few(metric: str, student: float, control: float, difference: float, margin: float, rows: int) -> Verdict:
    return Verdict(
        verdict="undecided",
        metric=metric,
        student=student,
        control=control,
        difference=difference,
        margin=margin,
        method=f"No interval: a bootstrap needs {MIN_ROWS_TO_RESAMPLE} labelled test rows, and there are {rows}.",
    )


def _compare_classes(student: Tensor, control: Tensor, spec: OutputSpec, labels: Tensor, reference: str) -> Verdict:
    correct, other_correct = (
        log_probabilities(each.double(), spec).argmax(dim=1) == labels for each in (student, control)
    )
    accuracy, other_accuracy = float(correct.double().mean()), float(other_correct.double().mean())
    interval = newcombe_interval(correct, other_correct)
    how = f"Accuracy, student - {reference}: Newcombe's score interval for paired shares (1998, method 10)"
    return _verdict("accuracy", accuracy, other_accuracy, accuracy - other_accuracy, interval, CLASS_MARGIN, how)


def _compare_labels(student: Tensor, control: Tensor, spec: OutputSpec, labels: Tensor, reference: str) -> Verdict:
    valid = ~labels.isnan()
    truth = labels > 0.5
    correct, other_correct = (((label_logits(each, spec) > 0.0) == truth) & valid for each in (student, control))
    return _compare_shares(correct, other_correct, valid, f"Accuracy over labels, student - {reference}")


def _compare_tokens(student: Tensor, control: Tensor, spec: OutputSpec, labels: Tensor, reference: str) -> Verdict:
    """Rows are resampled, not tokens, as those of a row depend on each other."""
    valid = labels >= 0
    correct, other_correct = ((each.argmax(dim=2) == labels) & valid for each in (student, control))
    return _compare_shares(correct, other_correct, valid, f"Accuracy over tokens, student - {reference}")


def _compare_maps(student: Tensor, control: Tensor, spec: OutputSpec, labels: Tensor, reference: str) -> Verdict:
    """Rows are resampled, as pixels of a row depend on each other, by their parts of the metric."""
    counts = [overlaps(each.argmax(dim=2), labels, each.shape[2]) for each in (student, control)]
    columns = torch.stack([mean_iou_by_row(*each) for each in counts], dim=1)
    iou, other_iou = (mean_iou(*each) for each in counts)
    if len(labels) < MIN_ROWS_TO_RESAMPLE:
        return _too_few("mean_iou", iou, other_iou, iou - other_iou, CLASS_MARGIN, len(labels))
    interval = bootstrap_interval(columns, lambda means: means[:, 0] - means[:, 1])
    how = f"Mean intersection over union, student - {reference}: {_BOOTSTRAP}, linearised around the metric"
    return _verdict("mean_iou", iou, other_iou, iou - other_iou, interval, CLASS_MARGIN, how)


def _compare_shares(correct: Tensor, other_correct: Tensor, valid: Tensor, compared: str) -> Verdict:
    """Of two parties which of the valid places of each row are right, bool [R, places] each."""
    columns = torch.stack([part.sum(dim=1).double() for part in (correct, other_correct, valid)], dim=1)
    accuracy, other_accuracy = (columns[:, :2].sum(dim=0) / columns[:, 2].sum()).tolist()
    difference = accuracy - other_accuracy
    if len(valid) < MIN_ROWS_TO_RESAMPLE:
        return _too_few("accuracy", accuracy, other_accuracy, difference, CLASS_MARGIN, len(valid))
    interval = bootstrap_interval(columns, lambda means: (means[:, 0] - means[:, 1]) / means[:, 2])
    how = f"{compared}: {_BOOTSTRAP}"
    return _verdict("accuracy", accuracy, other_accuracy, difference, interval, CLASS_MARGIN, how)


def _compare_values(student: Tensor, control: Tensor, spec: OutputSpec, labels: Tensor, reference: str) -> Verdict:
    truth = labels.double().reshape(len(labels), -1)
    errors = [(in_target_units(party, spec) - truth).square().mean(dim=1) for party in (student, control)]
    columns = torch.stack(errors, dim=1)
    rmse, other_rmse = columns.mean(dim=0).sqrt().tolist()
    margin = RELATIVE_VALUE_MARGIN * other_rmse
    if len(labels) < MIN_ROWS_TO_RESAMPLE:
        return _too_few("rmse", rmse, other_rmse, other_rmse - rmse, margin, len(labels))
    interval = bootstrap_interval(columns, lambda means: means[:, 1].sqrt() - means[:, 0].sqrt())
    how = f"Root mean squared error, {reference} - student (positive is better): {_BOOTSTRAP}"
    return _verdict("rmse", rmse, other_rmse, other_rmse - rmse, interval, margin, how)


_COMPARE: dict[TaskKind, Callable[[Tensor, Tensor, OutputSpec, Tensor, str], Verdict]] = {
    "class": _compare_classes,
    "token_class": _compare_tokens,
    "map": _compare_maps,
    "multilabel": _compare_labels,
    "value": _compare_values,
    "vector": _compare_values,
}
