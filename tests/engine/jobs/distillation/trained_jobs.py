"""Distillation jobs with a trained teacher, and their parts after the last step."""

from typing import Any

from app.contracts.specs.jobs import DistillJob, MultitaskJob
from tests.engine.harness import STUDENT, TEACHER, Arrays, EngineHarness
from workers.engine.common.stop import NeverStop
from workers.engine.data.joining import read_datasets
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData, store_of
from workers.engine.jobs.trained import Trained
from workers.engine.jobs.training_runs import TrainingRuns
from workers.engine.teachers.teachers import Teachers

TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "label",
    "model": {"family": "mlp", "hidden": [16]},
    "training": {"epochs": 5, "batch_size": 32, "learning_rate": 0.01},
}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": STUDENT,
    "training": {"epochs": 3, "batch_size": 32, "learning_rate": 0.01},
}
ROWS = 600
"""More than two blocks of a teacher's pass, the last one ragged."""


def add_trained_teacher(
    harness: EngineHarness, arrays: Arrays | None = None, model: str = TEACHER, seed: int = 0, **mlp: Any
) -> None:
    """Data, and a teacher that was trained on them."""
    harness.dataset(arrays)
    job = TRAIN | {"model": TRAIN["model"] | mlp, "training": TRAIN["training"] | {"seed": seed}}
    harness.teacher(harness.run(job, model), harness.folder / model / "attempt-1", model)


def trained(harness: EngineHarness, spec: dict[str, Any], job: str = "job") -> Trained:
    """Run a job up to its last step, and return its parts."""
    order = harness.order(spec, job)
    assert isinstance(order.spec, DistillJob | MultitaskJob)
    context = Job(order, order.spec, harness.log.emit, NeverStop())
    data = JobData.of(order.spec, read_datasets(order, order.spec.dataset_refs()), context.device)
    store = store_of(order.spec)
    teachers = Teachers(order, data.dataset, context.device, context.check_stop, store, data.augmentation)
    return TrainingRuns(context, data, teachers).run()


def targets_with_teacher_column(classes: int = 3, output: str = "logits") -> dict[str, Any]:
    """A manifest's targets: `label`, and `told`, columns with the outputs of a teacher."""
    predicts = {"kind": "class", "output": output}
    return {"label": {"kind": "class", "classes": classes}, "told": {"kind": "teacher", "predicts": predicts}}
