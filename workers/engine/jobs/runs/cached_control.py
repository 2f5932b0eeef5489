"""The control of a run, if an earlier job has trained the same one."""

from pathlib import Path
from typing import Any

import torch

from app.contracts.base import digest_of
from app.contracts.specs.architectures import Architecture
from app.contracts.wire.orders import Order
from workers.engine.data.joining import digest_facts
from workers.engine.jobs.load import JobData
from workers.engine.jobs.runs.baseline_key import baseline_facts
from workers.engine.jobs.runs.control_cache import ControlCache
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.runs.run import Run
from workers.engine.models import build
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.checkpoints.folder import Checkpoint


class CachedControl:
    """The shared cache, and the job's own copy of what it found there: a resumed attempt must find it again, also
    where it goes on with other threads or versions, under which the shared cache holds other bits.
    """

    def __init__(
        self, order: Order, facts: dict[str, Any], of_job: dict[str, Any], checkpoint: Checkpoint | None
    ) -> None:
        """`facts` are everything that the control's bits depend on; `of_job` those of them that an attempt keeps."""
        self._key = digest_of(facts)
        self._own_key = digest_of(of_job)
        self._shared = ControlCache(Path(order.cache_dir) / "controls")
        self._own = ControlCache(Path(order.checkpoints_dir) / "controls")
        self._begun = checkpoint is not None and "control" in checkpoint.state["learners"]

    def find(self, architecture: Architecture, device: torch.device) -> TrainedModel | None:
        """A control trained earlier; once this job has begun to train its own, it continues with that."""
        if self._begun:
            return None
        own = self._own.find(self._own_key)
        if own is None:
            own = self._shared.find(self._key)
            if own is None:
                return None
            self._own.publish(self._own_key, own.weights, own.epoch, own.steps, own.score)
        network = build(architecture)
        network.load_state_dict(own.weights)
        return TrainedModel(network.to(device), own.epoch, own.steps, own.score, cached=True)

    def keep(self, control: TrainedModel) -> None:
        """Offer a control that this job trained to all jobs."""
        self._shared.keep(self._key, control.network.state_dict(), control.epoch, control.steps, control.score)


def control_facts(run: Run, schedule: BatchSchedule, order: Order, data: JobData) -> dict[str, Any]:
    """Everything that a control's bits depend on besides its environment, the batch stream included."""
    run_spec = run.run_spec
    if run.baseline:
        return baseline_facts(run_spec, run.tasks[0].student, schedule, data)
    return {
        "architecture": run_spec.architecture.model_dump(mode="json"),
        "training": run.training.model_dump(mode="json"),
        "smoothing": run_spec.control_smoothing,
        "tasks": [[task.name, task.target, task.weight] for task in run_spec.tasks],
        "balancing": run_spec.balancing.model_dump(mode="json"),
        "relation": run_spec.relation.facts() if run_spec.relation is not None else None,
        **digest_facts(order, data.dataset),
        "rows": digest_of([schedule.rows.tolist(), schedule.validation.tolist()]),
    }
