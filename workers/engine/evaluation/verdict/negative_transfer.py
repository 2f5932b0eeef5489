"""Negative transfer: a task that is worse together with the others than alone.

A task is warned of where its fall against its own single-task baseline is certain:

- 3 seeds of each or more: the verdict's interval, which covers the noise of training, lies wholly below 0;
- fewer: that interval covers the choice of test rows alone, and other seeds move the difference by more. The difference
  must be `FAR` half-widths of the interval below 0, and the task's gradients must conflict with those of the others.

In both cases the fall is larger than the margin. Conflict alone is no criterion: gradients of unrelated tasks conflict
in about half of the measurements, and such tasks often lose nothing. Measured figures:
`tests/architecture/decisions/engine/0118-baselines-by-default.md`.
"""

from collections.abc import Iterator, Sequence

from app.contracts.reports.baselines import BaselineReport, TaskAgainstBaseline
from app.contracts.wire.events import WarningEvent
from workers.engine.evaluation.relation_report import RelationMeasurements
from workers.engine.evaluation.verdict.power import LEAST_REPEATS

FAR = 3.0
"""Half-widths of the interval over test rows by which a task of one or two seeds must be worse."""
CONFLICTS = 0.3
"""Share of the measurements in which the gradients of a task of one or two seeds must conflict with those of others."""


def negative_transfer(report: BaselineReport | None, measured: RelationMeasurements | None) -> Iterator[WarningEvent]:
    """A warning for each task whose fall is certain."""
    for name, task in (report.tasks if report is not None else {}).items():
        conflicts = conflict_share(name, measured)
        if is_worse(task, conflicts):
            yield WarningEvent(code="negative_transfer", message=_message(name, task, conflicts))


def is_worse(task: TaskAgainstBaseline, conflicts: float | None) -> bool:
    """Whether a task's fall against its baseline is certain; `conflicts`: the share of conflicting gradients."""
    if task.difference is None or task.interval is None or task.margin is None:
        return False
    low, high = task.interval
    if task.difference >= -task.margin:
        return False
    if task.repeats >= LEAST_REPEATS:
        return high < 0.0
    is_far = task.difference < -FAR * (task.difference - low)
    return is_far and conflicts is not None and conflicts >= CONFLICTS


def conflict_share(task: str, measured: RelationMeasurements | None) -> float | None:
    """The mean over the other tasks of the share of measurements with a negative cosine; None where not measured."""
    if measured is None or task not in measured["tasks"]:
        return None
    place = measured["tasks"].index(task)
    row: Sequence[float | None] = measured["conflicts"][place]
    shares = [share for i, share in enumerate(row) if i != place and share is not None]
    return sum(shares) / len(shares) if shares else None


def _message(name: str, task: TaskAgainstBaseline, conflicts: float | None) -> str:
    gradients = (
        f", and its gradients conflict with those of the other tasks in {conflicts:.0%} of the measurements"
        if conflicts is not None
        else ""
    )
    return (
        f"expected `{name}` to be as good as alone, found {task.metric} {task.student:.4g} together with the other "
        f"tasks and {task.baseline:.4g} for its own single-task baseline{gradients}: give it parts of its own "
        "(`student.sharing`), another `balancing` or a wider student, or train a model of its own"
    )
