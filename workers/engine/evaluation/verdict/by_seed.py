"""The metrics of the student of each seed, whatever they are compared with."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from workers.engine.evaluation.metrics.labels import reason_unmeasured
from workers.engine.evaluation.metrics.task_metrics import Metrics, task_metrics
from workers.engine.evaluation.parties import EvaluatedTask, Outputs


def figures_by_seed(
    tasks: Sequence[EvaluatedTask], students: Sequence[Outputs], rows: Tensor
) -> dict[str, tuple[Metrics, ...]]:
    """By task with labels on `rows` (int64 [n]) the metrics of each student, in their order; {} for a single one."""
    measured = [task for task in tasks if reason_unmeasured(task.name, "test", task.target, rows) is None]
    if len(students) < 2 or not measured:
        return {}
    outputs: list[Mapping[str, Tensor]] = [student(rows) for student in students]
    return {
        task.name: tuple(task_metrics(each[task.name], task.spec, task.target, rows) for each in outputs)
        for task in measured
        if task.target is not None
    }
