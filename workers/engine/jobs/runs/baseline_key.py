"""What a baseline's bits depend on, besides its environment: the key under which it is kept for other jobs.

Neither names nor the dataset's digest are in it: other tasks, other columns and the rows of the test split may differ.
"""

from typing import Any

from app.contracts.base import digest_of
from app.contracts.specs.training import TrainingSpec
from workers.engine.jobs.load import JobData, digest_of_rows
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import Task
from workers.engine.training.batches import BatchSchedule


def baseline_facts(run_spec: RunSpec, task: Task, schedule: BatchSchedule, data: JobData) -> dict[str, Any]:
    """The facts of a task's baseline."""
    assert task.target is not None
    architecture = run_spec.architecture.model_dump(mode="json")
    rows = data.trained_rows
    return {
        "baseline": {**architecture, "outputs": list(architecture["outputs"].values())},
        "training": _trained_by(schedule.training),
        "spec": task.spec.model_dump(mode="json", exclude={"classes"}),
        "inputs": data.digest_of_inputs,
        "transform": data.transform.model_dump(mode="json"),
        "target": digest_of_rows(task.target.values, rows),
        "rows": digest_of([rows.tolist(), schedule.rows.tolist(), schedule.validation.tolist()]),
        "mixture": _mixture(schedule),
    }


def _mixture(schedule: BatchSchedule) -> list[list[float]] | None:
    """Of several datasets where each one's rows lie, and its share of the batches."""
    if schedule.mixture is None:
        return None
    return [[source.first, source.rows, source.weight] for source in schedule.mixture.sources]


def _trained_by(training: TrainingSpec) -> dict[str, Any]:
    return training.model_dump(mode="json", exclude={"threads"})  # those of the environment count
