"""The control of a run from the cache, if an earlier job has trained the same one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.contracts.base import digest_of
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.jobs import TaskSpec
from app.contracts.wire.orders import Order
from workers.engine.data.joining import digest_facts
from workers.engine.jobs.load import JobData
from workers.engine.jobs.runs.baseline_key import baseline_facts, label_loss_facts
from workers.engine.jobs.runs.control_cache import ControlCache, StoredControl
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.models import build
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.checkpoints.folder import Checkpoint


class CachedControl:
    """The control in the shared cache, and the job's own copy of it.

    A resumed attempt must find the same control again, also in another environment, for which the shared cache has
    another entry.
    """

    def __init__(
        self, order: Order, facts: dict[str, Any], job_facts: dict[str, Any], checkpoint: Checkpoint | None
    ) -> None:
        """`facts`: everything that the control's bits depend on; `job_facts`: those that all attempts share."""
        self._key = digest_of(facts)
        self._own_key = digest_of(job_facts)
        self._shared = ControlCache(Path(order.cache_dir) / "controls")
        self._own = ControlCache(Path(order.checkpoints_dir) / "controls")
        self._in_training = checkpoint is not None and "control" in checkpoint.state["learners"]

    def find(self, architecture: Architecture, device: torch.device) -> TrainedModel | None:
        """The cached control; None if there is none, or if this job has begun to train its own."""
        if self._in_training:
            return None
        stored = self._own.find(self._own_key)
        if stored is None:
            stored = self._shared.find(self._key)
            if stored is None:
                return None
            self._own.store(self._own_key, stored)
        network = build(architecture)
        network.load_state_dict(stored.weights)
        facts = stored.epoch, stored.steps, stored.score, stored.loss
        return TrainedModel(network.to(device), *facts, cached=True, history=stored.history)

    def share(self, control: TrainedModel) -> None:
        """Store a control that this job trained in the shared cache."""
        facts = control.epoch, control.steps, control.score, control.loss, control.history
        self._shared.try_store(self._key, StoredControl(control.network.state_dict(), *facts))


def control_facts(run: Run, schedule: BatchSchedule, order: Order, data: JobData) -> dict[str, Any]:
    """Everything that a control's bits depend on besides the environment, including its batches, as JSON."""
    run_spec = run.run_spec
    if run.baseline:
        return baseline_facts(run_spec, run.tasks[0].student, schedule, data)
    return {
        "architecture": run_spec.architecture.model_dump(mode="json"),
        "training": run.training.model_dump(mode="json", exclude=_of_teachers(run_spec.architecture)),
        "smoothing": run_spec.control_smoothing,
        "tasks": [[task.name, task.target, task.weight, label_loss_facts(task)] for task in run_spec.tasks],
        **_row_weights(run_spec.tasks),
        "balancing": run_spec.balancing.model_dump(mode="json"),
        "relation": run_spec.relation.facts() if run_spec.relation is not None else None,
        **digest_facts(order, data.dataset),
        **({"reads": list(data.names)} if len(data.names) < len(data.dataset.rows_of) else {}),
        "rows": digest_of([schedule.rows.tolist(), schedule.validation.tolist()]),
    }


def _of_teachers(architecture: Architecture) -> set[str]:
    """The settings that follow from the teachers, and that no bit of a control depends on."""
    return {"teacher_threads"} if architecture.maps_images else {"teacher_threads", "memory_format"}


def _row_weights(tasks: Sequence[TaskSpec]) -> dict[str, Any]:
    """The names of the tasks' row weights, which the dataset's file and manifest hold, if there are any."""
    names = [task.row_weights for task in tasks]
    return {"row_weights": names} if any(names) else {}
