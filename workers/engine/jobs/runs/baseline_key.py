"""The cache key of a baseline: everything that its bits depend on besides the environment.

Neither names nor the dataset's digest are included: other tasks, other columns and the test split may differ.
"""

from typing import Any

from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.resolving.data.class_names import names_of
from app.contracts.specs.jobs import TaskSpec
from app.contracts.specs.supervision.metrics import CLASS_KINDS
from workers.engine.jobs.load import JobData, digest_of_rows
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.task import Task
from workers.engine.training.batches import BatchSchedule

_ROW_AND_CLASS_WEIGHTS = ("class_weights", "row_weights")
"""Settings of the loss that are included by their numbers."""


def baseline_facts(run_spec: RunSpec, task: Task, schedule: BatchSchedule, data: JobData) -> dict[str, Any]:
    """The facts of the baseline of a task, as JSON."""
    assert task.target is not None
    architecture = run_spec.architecture.model_dump(mode="json")
    rows = data.trained_rows
    return {
        "baseline": {**architecture, "outputs": list(architecture["outputs"].values())},
        # Threads are part of the environment.
        "training": schedule.training.model_dump(
            mode="json", exclude={"threads", "teacher_threads", "loss", *_ROW_AND_CLASS_WEIGHTS}
        ),
        "label_loss": label_loss_facts(run_spec.tasks[0]),
        "spec": task.spec.model_dump(mode="json", exclude={"classes"}),
        "inputs": data.digest_of_inputs,
        "transform": data.transform.model_dump(mode="json"),
        "target": digest_of_rows(task.target.values, rows),
        **_row_weights(task, rows),
        "rows": digest_of([rows.tolist(), schedule.rows.tolist(), schedule.validation.tolist()]),
        "mixture": _mixture(schedule),
        **_pretrained_head(run_spec, task),
    }


def _pretrained_head(run_spec: RunSpec, task: Task) -> dict[str, Any]:
    """What decides whether the head starts from a pretrained model's."""
    if run_spec.architecture.pretrained is None:
        return {}
    return {"head": [task.name, list(names_of(task.spec) or ()) if task.spec.kind in CLASS_KINDS else None]}


def _row_weights(task: Task, rows: Tensor) -> dict[str, str]:
    """The digest of the row weights of the loss on labels, if it has any."""
    weights = next((term.row_weights for term in task.terms if isinstance(term, SupervisedLoss)), None)
    return {} if weights is None else {"row_weights": digest_of_rows(weights.values.cpu(), rows)}


def label_loss_facts(task: TaskSpec) -> dict[str, Any]:
    """A task's loss on labels and its class weights, as JSON."""
    return task.model_dump(mode="json", include={"loss", "class_weights"})


def _mixture(schedule: BatchSchedule) -> list[list[float]] | None:
    """For each of several datasets its first row, number of rows and weight."""
    if schedule.mixture is None:
        return None
    return [[source.first, source.rows, source.weight] for source in schedule.mixture.sources]
