"""Did the teacher help? Several students against several controls, each of a seed of its own.

| networks | interval | covers |
|---|---|---|
| 1 of each | `verdict.judge` | test rows |
| else fewer than 3 of either | t over rows of the difference of means | test rows; training noise badly |
| 3 or more of each | Welch's t over seeds, widened by what varies over rows | test rows and training noise |

Metrics, margins and the order of judging are those of `verdict`. Seeds are not paired: pairing buys nothing. Why, with
simulated rates: `tests/architecture/decisions/engine/0070-verdicts-over-repeats.md`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.reports.report import Verdict
from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.distillation import TaskKind
from workers.engine.data.dataset import TargetColumn
from workers.engine.evaluation.metrics.labels import labelled_part
from workers.engine.evaluation.verdict.contributions import contributions
from workers.engine.evaluation.verdict.crossed_interval import crossed_interval, row_interval
from workers.engine.evaluation.verdict.intervals import Z
from workers.engine.evaluation.verdict.judge import (
    CLASS_MARGIN,
    FEWEST_ROWS_TO_RESAMPLE,
    RELATIVE_VALUE_MARGIN,
    conclusion,
    judge,
    not_applicable,
)

FEWEST_REPEATS = 3
"""Seeds of each from which the noise of training can be estimated."""

_METRIC: dict[TaskKind, str] = {"class": "accuracy", "multilabel": "accuracy", "value": "rmse", "vector": "rmse"}
_COMPARED: dict[TaskKind, str] = {
    "class": "Accuracy, student - {rival}",
    "multilabel": "Accuracy over labels, student - {rival}",
    "value": "Root mean squared error, {rival} - student (positive is better)",
    "vector": "Root mean squared error, {rival} - student (positive is better)",
}


def judge_repeats(
    students: Sequence[Tensor],
    controls: Sequence[Tensor],
    spec: OutputSpec,
    target: TargetColumn,
    rows: Tensor,
    rival: str = "control",
) -> Verdict:
    """The verdict of one task over repeats.

    Each of `students` and `controls` holds raw outputs [n, size] of the dataset rows `rows` (int64 [n]), as `spec`
    says; one of each is judged by `judge`. Rows without a label are left out; without any label it is
    `not_applicable`. `students` and `controls` of the verdict are the metric of each network, its `repeats` the fewer
    of both numbers; `rival` is what the controls are called in its method.
    """
    if not students or not controls:
        raise ValueError(f"expected a student and a control or more, found {len(students)} and {len(controls)}")
    if len(students) == len(controls) == 1:
        return judge(students[0], controls[0], spec, target, rows, rival)
    positions, labels = labelled_part(target, rows)
    if len(positions) == 0:
        return not_applicable("no test row has a label")
    ours, theirs = (
        torch.stack([contributions(each[positions].cpu(), spec, labels.cpu()) for each in group])
        for group in (students, controls)
    )
    return _judged(ours, theirs, spec.kind, rival)


def _judged(students: Tensor, controls: Tensor, kind: TaskKind, rival: str) -> Verdict:
    """The verdict from contributions, [n, R] and [m, R]."""
    metric, repeats = _METRIC[kind], min(len(students), len(controls))
    if not bool(students.isfinite().all() and controls.isfinite().all()):
        why = "No interval: a network put out numbers that are not finite."
        return Verdict(verdict="inconclusive", metric=metric, repeats=repeats, method=why)
    sign = -1.0 if metric == "rmse" else 1.0
    ours, theirs = (tuple((sign * group.mean(dim=1)).tolist()) for group in (students, controls))
    student, control = math.fsum(ours) / len(ours), math.fsum(theirs) / len(theirs)
    margin = RELATIVE_VALUE_MARGIN * control if metric == "rmse" else CLASS_MARGIN
    interval = _interval(students, controls, kind)
    method = _method(kind, len(ours), len(theirs), rival)
    return Verdict(
        verdict=conclusion(interval, margin) if interval is not None else "inconclusive",
        metric=metric,
        student=student,
        control=control,
        difference=sign * (student - control),
        margin=margin,
        interval=interval,
        method=method if interval is not None else _too_few(students.shape[1], kind),
        repeats=repeats,
        students=ours,
        controls=theirs,
    )


def _interval(students: Tensor, controls: Tensor, kind: TaskKind) -> tuple[float, float] | None:
    """None where there are too few rows to know how the metric varies over them.

    Where no row differs, n rows still leave room for a difference: half-widths of accuracies are at least
    z √2 / (n + 2), that of Bonett and Price's interval (2012) for shares that never differ.
    """
    rows = students.shape[1]
    if rows < _fewest_rows(kind):
        return None
    enough = min(len(students), len(controls)) >= FEWEST_REPEATS
    interval_of = crossed_interval if enough else row_interval
    if _METRIC[kind] != "accuracy":
        return interval_of(students, controls)
    low, high = interval_of(students, controls, Z * math.sqrt(2.0) / (rows + 2))
    return max(low, -1.0), min(high, 1.0)


def _fewest_rows(kind: TaskKind) -> int:
    return 2 if kind == "class" else FEWEST_ROWS_TO_RESAMPLE


def _method(kind: TaskKind, students: int, controls: int, rival: str) -> str:
    compared = _COMPARED[kind].format(rival=rival)
    compared += f": means of {_counted(students, 'student')} and {_counted(controls, rival)}"
    if min(students, controls) < FEWEST_REPEATS:
        return (
            f"{compared}, t interval over test rows, 95 %. It covers the choice of test rows, but not well the noise "
            f"of training: that takes {FEWEST_REPEATS} of each or more."
        )
    return (
        f"{compared}; Welch's t interval over seeds (not paired), widened by the variance of the difference over test "
        "rows (crossed), 95 %. It covers the noise of training and the choice of test rows, not other data or settings."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _too_few(rows: int, kind: TaskKind) -> str:
    return f"No interval: it needs {_fewest_rows(kind)} labelled test rows, and there are {rows}."
