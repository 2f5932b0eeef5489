"""What a baseline's bits depend on, besides the footing: the key under which it is kept for other jobs.

Neither names nor the dataset's digest are in it: other tasks, other columns and the rows of the test split may differ.
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

from app.contracts.base import digest_of
from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.training import TrainingSpec
from workers.engine.data.dataset import Dataset
from workers.engine.tasks.build import Course
from workers.engine.tasks.task import Task
from workers.engine.training.loop import Schooling

_AT_ONCE = 4096


def digest_of_rows(values: Tensor, rows: Tensor) -> str:
    """SHA-256 of rows (int64 [n]) of a column on the host: type, shape, bytes."""
    found = hashlib.sha256(repr((str(values.dtype), tuple(values.shape[1:]), len(rows))).encode())
    for part in torch.split(rows, _AT_ONCE):
        found.update(values[part].contiguous().numpy().tobytes())
    return found.hexdigest()


def rows_of(dataset: Dataset) -> Tensor:
    """Every row that a training may see: those of the training split (views mix others in), then the validation's."""
    train = dataset.splits["train"]
    return torch.cat([train, dataset.splits.get("validation", train[:0])])


def facts(course: Course, task: Task, schooling: Schooling, dataset: Dataset, inputs: str) -> dict[str, Any]:
    """The facts of a task's baseline; `inputs` is the digest of the inputs at `rows_of(dataset)`."""
    assert task.target is not None
    architecture = course.architecture.model_dump(mode="json")
    rows = rows_of(dataset)
    return {
        "baseline": {**architecture, "outputs": list(architecture["outputs"].values())},
        "training": _trained_by(schooling.training),
        "spec": task.spec.model_dump(mode="json", exclude={"classes"}),
        "inputs": inputs,
        "transform": _transform(dataset).model_dump(mode="json"),
        "target": digest_of_rows(task.target.values, rows),
        "rows": digest_of([rows.tolist(), schooling.rows.tolist(), schooling.validation.tolist()]),
        "mixture": _mixture(schooling),
    }


def _mixture(schooling: Schooling) -> list[list[float]] | None:
    """Of several datasets where each one's rows lie, and its share of the batches."""
    if schooling.mixture is None:
        return None
    return [[source.first, source.rows, source.weight] for source in schooling.mixture.sources]


def _trained_by(training: TrainingSpec) -> dict[str, Any]:
    return training.model_dump(mode="json", exclude={"threads"})  # those of the footing count


def _transform(dataset: Dataset) -> InputTransform:
    return next(iter(dataset.transforms.values()))
