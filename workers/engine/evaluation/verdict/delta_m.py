"""Δm, the relative gain of a multi-task student over single-task baselines, in percent; positive is better.

Maninis 2019 ("Attentive single-tasking of multiple tasks"), as Vandenhende 2021 writes it: Δm_i = (-1)^{l_i} (M_i -
B_i) / B_i with l_i = 1 where lower is better. Navon 2022 and others use the opposite sign. A task's Δm is the mean over
its metrics, the job's the mean over its tasks.
"""

from collections.abc import Mapping, Sequence

from app.contracts.reports.baselines import MetricAgainstBaseline
from app.contracts.specs.distillation import TaskKind
from app.contracts.specs.supervision.metrics import DIRECTIONS

COUNTED: dict[TaskKind, tuple[str, ...]] = {
    "class": ("accuracy",),
    "token_class": ("accuracy",),
    "map": ("mean_iou",),
    "multilabel": ("accuracy", "macro_f1"),
    "value": ("rmse",),
    "vector": ("rmse",),
}
"""The metrics of Δm, by kind of task. Accuracy over labels is high where most labels are 0, so macro F1 is included."""
LOWER_IS_BETTER = frozenset(name for name, direction in DIRECTIONS.items() if direction == "lower")


def delta_m(metric: str, student: float, baseline: float) -> float | None:
    """Δm of one metric in percent; None if the baseline's is 0."""
    if baseline == 0.0:
        return None
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    return 100.0 * sign * (student - baseline) / baseline


def compare_metric(metric: str, student: float | None, baseline: float | None) -> MetricAgainstBaseline:
    """One metric of student and baseline, with its Δm or the reason why it is undefined."""
    if student is None or baseline is None:
        side = "student" if student is None else "baseline"
        return MetricAgainstBaseline(student=student, baseline=baseline, reason=f"{metric} of the {side} is undefined")
    value = delta_m(metric, student, baseline)
    reason = f"{metric} of the baseline is 0" if value is None else None
    return MetricAgainstBaseline(student=student, baseline=baseline, delta_m=value, reason=reason)


def mean_over_metrics(metrics: Mapping[str, MetricAgainstBaseline]) -> tuple[float | None, str | None]:
    """(mean over the metrics with a Δm, reasons of the missing ones)."""
    missing = [each.reason for each in metrics.values() if each.reason is not None]
    return mean([each.delta_m for each in metrics.values()]), "; ".join(missing) or None


def mean_over_tasks(by_task: Mapping[str, float | None]) -> tuple[float | None, str | None]:
    """(mean over the tasks with a Δm, names of the others)."""
    without = [f"`{task}`" for task, value in by_task.items() if value is None]
    return mean(list(by_task.values())), f"without {', '.join(without)}" if without else None


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the defined values; None if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
