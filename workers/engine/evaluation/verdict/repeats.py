"""The verdict over repeats: several students compared with several controls, each trained with another seed.

| networks | interval | covers |
|---|---|---|
| 1 of each | `verdict.judge` | test rows; its words are provisional |
| fewer than 3 of either | t over rows of the difference of means | test rows, training noise in part; provisional |
| 3 or more of each | Welch's t over seeds, widened by the variance over rows | test rows and training noise |

Metrics, margins and conclusions are those of `judge`. Seeds are not paired, as pairing does not reduce the variance.
Reasons, with simulated rates: `tests/architecture/decisions/engine/0070-verdicts-over-repeats.md`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.reports.confidence import CONFIDENCE, level_text, tail
from app.contracts.reports.quantiles import normal_quantile
from app.contracts.reports.report import Verdict
from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.distillation import TaskKind
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.labels import labelled_part
from workers.engine.evaluation.metrics.task_metrics import COMPARED
from workers.engine.evaluation.verdict.contributions import contributions
from workers.engine.evaluation.verdict.crossed_interval import Estimate, crossed, over_rows
from workers.engine.evaluation.verdict.judge import (
    CLASS_MARGIN,
    MIN_ROWS_TO_RESAMPLE,
    RELATIVE_VALUE_MARGIN,
    conclusion,
    judge,
    not_applicable,
    provisional,
)
from workers.engine.evaluation.verdict.power import LEAST_REPEATS, settled

_LEAST = normal_quantile(tail(CONFIDENCE)) * math.sqrt(2.0)
"""The least half-width of an accuracy's interval, times rows + 2."""
_COMPARED: dict[TaskKind, str] = {
    "class": "Accuracy, student - {reference}",
    "token_class": "Accuracy over tokens, student - {reference}",
    "map": "Mean intersection over union, student - {reference}",
    "multilabel": "Accuracy over labels, student - {reference}",
    "value": "Root mean squared error, {reference} - student (positive is better)",
    "vector": "Root mean squared error, {reference} - student (positive is better)",
}


def verdict_over_repeats(
    students: Sequence[Tensor],
    controls: Sequence[Tensor],
    spec: OutputSpec,
    target: TargetColumn,
    rows: Tensor,
    reference: str = "control",
) -> Verdict:
    """The verdict of one task over repeats.

    `students` and `controls` are raw outputs [n, size], with the meaning `spec`, for the dataset rows `rows`
    (int64 [n]), one for each seed; a single pair is compared by `judge`. Rows without a label are ignored; without any
    label the verdict is `not_applicable`. Its `students` and `controls` are the metric of each network, `repeats` the
    smaller number of networks; `reference` is the name of the controls in its method.
    """
    if not students or not controls:
        raise ValueError(f"expected at least one student and one control, found {len(students)} and {len(controls)}")
    if len(students) == len(controls) == 1:
        return judge(students[0], controls[0], spec, target, rows, reference)
    positions, labels = labelled_part(target, rows)
    if len(positions) == 0:
        return not_applicable("no test row has a label")
    student_contributions, control_contributions = (
        torch.stack([contributions(each[positions].cpu(), spec, labels.cpu()) for each in group])
        for group in (students, controls)
    )
    return verdict_of(student_contributions, control_contributions, spec.kind, reference)


def verdict_of(students: Tensor, controls: Tensor, kind: TaskKind, reference: str = "control") -> Verdict:
    """The verdict from contributions of rows to each network's metric, float64 [n, R] and [m, R]."""
    metric, repeats = COMPARED[kind], min(len(students), len(controls))
    if not bool(students.isfinite().all() and controls.isfinite().all()):
        method = "No interval: the outputs of a network are not finite."
        return Verdict(verdict="inconclusive", metric=metric, repeats=repeats, method=method)
    sign = -1.0 if metric == "rmse" else 1.0
    by_student, by_control = (tuple((sign * group.mean(dim=1)).tolist()) for group in (students, controls))
    student, control = (math.fsum(metrics) / len(metrics) for metrics in (by_student, by_control))
    verdict = Verdict(
        verdict="inconclusive",
        metric=metric,
        student=student,
        control=control,
        difference=sign * (student - control),
        margin=RELATIVE_VALUE_MARGIN * control if metric == "rmse" else CLASS_MARGIN,
        method=_too_few(students.shape[1], kind),
        repeats=repeats,
        students=by_student,
        controls=by_control,
    )
    if students.shape[1] < _min_rows(kind):
        return verdict
    verdict = verdict.model_copy(update=_conclusion(verdict, students, controls, kind, reference))
    return settled(verdict, students, controls, _LEAST if metric == "accuracy" else 0.0)


def _conclusion(
    verdict: Verdict, students: Tensor, controls: Tensor, kind: TaskKind, reference: str
) -> dict[str, object]:
    """The fields of a verdict that follow from its interval."""
    assert verdict.margin is not None
    is_enough = min(len(students), len(controls)) >= LEAST_REPEATS
    estimate = (crossed if is_enough else over_rows)(students, controls)
    interval = _interval(estimate, students.shape[1], kind)
    word = conclusion(interval, verdict.margin)
    return {
        "verdict": word if is_enough else provisional(word),
        "interval": interval,
        "confidence": CONFIDENCE,
        "standard_error": estimate.standard_error,
        "freedom": estimate.freedom,
        "method": _method(kind, len(students), len(controls), reference),
    }


def _interval(estimate: Estimate, rows: int, kind: TaskKind) -> tuple[float, float]:
    """Half-widths of accuracies are at least z √2 / (n + 2), that of Bonett and Price's interval (2012) for n rows
    without any difference.
    """
    if COMPARED[kind] != "accuracy":
        return estimate.interval()
    low, high = estimate.interval(_LEAST / (rows + 2))
    return max(low, -1.0), min(high, 1.0)


def _min_rows(kind: TaskKind) -> int:
    return 2 if kind == "class" else MIN_ROWS_TO_RESAMPLE


def _method(kind: TaskKind, students: int, controls: int, reference: str) -> str:
    comparison, level = _COMPARED[kind].format(reference=reference), level_text(CONFIDENCE)
    comparison += f": means of {_counted(students, 'student')} and {_counted(controls, reference)}"
    if min(students, controls) < LEAST_REPEATS:
        return (
            f"{comparison}, t interval over test rows, {level}. It covers the choice of test rows, but not well the "
            f"noise of training: that takes {LEAST_REPEATS} of each or more."
        )
    return (
        f"{comparison}; Welch's t interval over seeds (not paired), widened by the variance of the difference over "
        f"test rows (crossed), {level}. It covers the noise of training and the choice of test rows, not other data "
        "or settings."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _too_few(rows: int, kind: TaskKind) -> str:
    return f"No interval: it needs {_min_rows(kind)} labelled test rows, and there are {rows}."
