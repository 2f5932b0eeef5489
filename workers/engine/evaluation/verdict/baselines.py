"""Comparison of a multi-task student with single-task models, for each task, on the test rows."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from app.contracts.reports.baselines import BaselineReport, MetricAgainstBaseline, TaskAgainstBaseline
from app.contracts.reports.report import Verdict
from workers.engine.evaluation.metrics.labels import reason_unmeasured
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.verdict.delta_m import COUNTED, compare_metric, mean, mean_over_metrics, mean_over_tasks
from workers.engine.evaluation.verdict.judge import not_applicable
from workers.engine.evaluation.verdict.repeats import verdict_over_repeats


def against_baselines(
    task: EvaluatedTask, students: Sequence[Tensor], baselines: Sequence[Tensor], rows: Tensor
) -> TaskAgainstBaseline:
    """One task; `students` and `baselines` are raw outputs [n, size] for the dataset rows `rows` (int64 [n]), by seed.

    The verdict is `not_applicable` without baselines or without labels on these rows.
    """
    reason = reason_unmeasured(task.name, "test", task.target, rows)
    if reason is None and not baselines:
        reason = f"no row of the training split has a label for `{task.name}`, so that it has no baseline"
    if reason is not None or task.target is None:
        return _comparison(not_applicable(reason or "there are no labels"), {}, reason)
    verdict = verdict_over_repeats(students, baselines, task.spec, task.target, rows, reference="baseline")
    measured = [
        [task_metrics(each, task.spec, task.target, rows, ranking=False) for each in side]
        for side in (students, baselines)
    ]
    metrics = {
        metric: compare_metric(metric, *(_over_seeds([metrics[metric] for metrics in side]) for side in measured))
        for metric in COUNTED[task.spec.kind]
    }
    return _comparison(verdict, metrics, None)


def _over_seeds(values: Sequence[float | None]) -> float | None:
    """The mean over seeds; None if one of them is undefined."""
    return None if None in values else mean(values)


def _comparison(
    verdict: Verdict, metrics: Mapping[str, MetricAgainstBaseline], reason: str | None
) -> TaskAgainstBaseline:
    delta_m, missing = mean_over_metrics(metrics)
    return TaskAgainstBaseline(
        **verdict.model_dump(exclude={"control", "controls"}),
        baseline=verdict.control,
        baselines=verdict.controls,
        delta_m=delta_m,
        reason=reason or missing,
        metrics=dict(metrics),
    )


def baseline_report(tasks: Mapping[str, TaskAgainstBaseline]) -> BaselineReport:
    """The report of all tasks, with the mean of their Δm."""
    delta_m, reason = mean_over_tasks({name: task.delta_m for name, task in tasks.items()})
    return BaselineReport(tasks=dict(tasks), delta_m=delta_m, reason=reason)
