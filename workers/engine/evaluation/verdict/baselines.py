"""A multi-task student against single-task models, task by task, on the test rows."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from app.contracts.reports.baselines import BaselineReport, MetricAgainstBaseline, TaskAgainstBaseline
from app.contracts.reports.report import Verdict
from workers.engine.evaluation.metrics.labels import why_unmeasured
from workers.engine.evaluation.metrics.task_metrics import task_metrics
from workers.engine.evaluation.parties import EvaluatedTask
from workers.engine.evaluation.verdict.delta_m import COUNTED, mean, of_metric, of_task, of_tasks
from workers.engine.evaluation.verdict.judge import not_applicable
from workers.engine.evaluation.verdict.repeats import judge_repeats


def against_baselines(
    task: EvaluatedTask, students: Sequence[Tensor], baselines: Sequence[Tensor], rows: Tensor
) -> TaskAgainstBaseline:
    """One task: raw outputs [n, size] of the dataset rows `rows` (int64 [n]), one for each seed of either side.

    Without baselines, or without a label on these rows, it is `not_applicable`.
    """
    why = why_unmeasured(task.name, "test", task.target, rows)
    if why is None and not baselines:
        why = f"no row of the training split has a label for `{task.name}`, so that it has no baseline"
    if why is not None or task.target is None:
        return _joined(not_applicable(why or "there are no labels"), {}, why)
    verdict = judge_repeats(students, baselines, task.spec, task.target, rows, rival="baseline")
    measured = [
        [task_metrics(each, task.spec, task.target, rows, ranking=False) for each in side]
        for side in (students, baselines)
    ]
    metrics = {
        metric: of_metric(metric, *(_over_seeds([found[metric] for found in side]) for side in measured))
        for metric in COUNTED[task.spec.kind]
    }
    return _joined(verdict, metrics, None)


def _over_seeds(values: Sequence[float | None]) -> float | None:
    """The mean over seeds; None where one of them is undefined."""
    return None if None in values else mean(values)


def _joined(verdict: Verdict, metrics: Mapping[str, MetricAgainstBaseline], why: str | None) -> TaskAgainstBaseline:
    said = verdict.model_dump(exclude={"control", "controls"})
    delta_m, missing = of_task(metrics)
    return TaskAgainstBaseline(
        **said,
        baseline=verdict.control,
        baselines=verdict.controls,
        delta_m=delta_m,
        reason=why or missing,
        metrics=dict(metrics),
    )


def baseline_report(tasks: Mapping[str, TaskAgainstBaseline]) -> BaselineReport:
    """All tasks, with the mean of their Δm."""
    delta_m, reason = of_tasks({name: task.delta_m for name, task in tasks.items()})
    return BaselineReport(tasks=dict(tasks), delta_m=delta_m, reason=reason)
