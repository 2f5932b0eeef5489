"""Jobs with quantization-aware training, up to their last step."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.contracts.specs.jobs import DistillJob, MultitaskJob, TrainJob
from tests.engine.harness import STUDENT, EngineHarness, StopAtStep, blobs
from workers.engine.common.determinism import make_deterministic
from workers.engine.common.stop import Stop
from workers.engine.data.joining import read_datasets
from workers.engine.jobs.job import Job
from workers.engine.jobs.load import JobData, store_of
from workers.engine.jobs.runs.results import TrainedModel
from workers.engine.jobs.trained import Trained
from workers.engine.jobs.training_runs import TrainingRuns
from workers.engine.teachers.teachers import Teachers

Json = dict[str, Any]
AWARE: Json = {"quantization": {"aware": True, "begin": 0.5}}
TRAINING: Json = {"epochs": 4, "batch_size": 32, "learning_rate": 0.02}
BATCHES = 6
"""Steps of an epoch: 168 rows of the training split in batches of 32."""
TOLD: Json = {
    "label": {"kind": "class", "classes": 3},
    "side": {"kind": "class", "classes": 2},
    "told": {"kind": "teacher", "size": 3, "predicts": {"kind": "class", "output": "logits"}},
}
DISTILL: Json = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"columns": "told"}],
    "student": STUDENT,
    "training": TRAINING,
    "repeats": 1,
}
TRAIN: Json = {"kind": "train", "target": "label", "model": STUDENT, "training": TRAINING}


def taught(folder: Path) -> EngineHarness:
    """Data with columns of a good teacher."""
    harness, arrays = EngineHarness(folder), blobs()
    noise = np.random.default_rng(1).normal(size=(len(arrays["label"]), 3))
    harness.dataset(arrays | {"told": 3.0 * np.eye(3)[arrays["label"]] + noise}, targets=TOLD)
    return harness


def trained(harness: EngineHarness, spec: Json, job: str, attempt: int = 1, stop: Stop | None = None) -> Trained:
    """Run an attempt of a job up to its last step, with a cache of controls that all jobs of the harness share."""
    order = harness.order(spec, job, attempt)
    assert isinstance(order.spec, TrainJob | DistillJob | MultitaskJob)
    make_deterministic(1)
    context = Job(order, order.spec, harness.log.emit, stop or StopAtStep(1 << 60))
    data = JobData.of(order.spec, read_datasets(order, order.spec.dataset_refs()), context.device)
    teachers = Teachers(
        order, data.dataset, context.device, context.check_stop, store_of(order.spec), data.augmentation
    )
    return TrainingRuns(context, data, teachers).run()


def bits(model: TrainedModel) -> dict[str, bytes]:
    """The bytes of weights and ranges, by name."""
    tensors = {**model.network.state_dict(), **{f"range of {name}": each for name, each in model.input_ranges.items()}}
    return {name: value.numpy().tobytes() for name, value in tensors.items()}


def largest_difference(one: TrainedModel, other: TrainedModel) -> float:
    """Between the weights of two models."""
    first, second = one.network.state_dict(), other.network.state_dict()
    return max(
        float((first[name] - second[name]).abs().max()) for name in first if torch.is_floating_point(first[name])
    )
