"""The datasets of a job as tensors, ready for training."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform, SplitName
from app.contracts.specs.jobs import AnyTrainingJob, TrainJob
from app.contracts.specs.stores import StoreSpec
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.dataset import Dataset
from workers.engine.data.inputs import Inputs
from workers.engine.jobs.search import folds_of
from workers.engine.tasks.run_spec import RunSpec

_HASHED_ROWS = 4096


@dataclass(frozen=True)
class JobData:
    """The rows of a job: raw dataset, transformed inputs, and augmentation."""

    dataset: Dataset
    inputs: Inputs
    augmentation: AugmentationPlan | None

    @classmethod
    def of(cls, spec: AnyTrainingJob, dataset: Dataset, device: torch.device) -> "JobData":
        """The data of a job on `device`. It is the same for all seeds and candidates of a job."""
        name = next(iter(dataset.inputs))
        transform, views = dataset.transforms[name], spec.training.views
        raw = dataset.inputs[name]
        inputs = Inputs.prepare(raw, transform, device)
        shape = RunSpec.of(spec).architecture.input_shape
        if views is None or shape is None:
            return cls(dataset, inputs, None)
        rows = dataset.splits["train"]
        if folds_of(spec) is not None:
            rows = torch.cat([rows, dataset.splits.get("validation", rows[:0])])
        return cls(dataset, inputs, AugmentationPlan.of(views, inputs, rows, shape, transform, raw.dtype))

    @property
    def input_name(self) -> str:
        """The name of the dataset's only input."""
        return next(iter(self.dataset.inputs))

    @property
    def transform(self) -> InputTransform:
        """The student's transform of raw rows."""
        return self.dataset.transforms[self.input_name]

    @property
    def trained_rows(self) -> Tensor:
        """All rows that training may use: the training split (of which any rows may be mixed), then validation."""
        return torch.cat([self.split("train"), self.split("validation")])

    @cached_property
    def digest_of_inputs(self) -> str:
        """SHA-256 of the inputs of `trained_rows`."""
        return digest_of_rows(self.dataset.inputs[self.input_name], self.trained_rows)

    def split(self, name: SplitName) -> Tensor:
        """The rows of a split, int64; empty if the dataset has no such split."""
        return self.dataset.splits.get(name, torch.empty(0, dtype=torch.int64))


def store_of(spec: AnyTrainingJob) -> StoreSpec:
    """The soft-target store settings of a job."""
    return StoreSpec() if isinstance(spec, TrainJob) else spec.store


def digest_of_rows(values: Tensor, rows: Tensor) -> str:
    """SHA-256 of rows (int64 [n]) of a column on the host: dtype, shape and bytes."""
    digest = hashlib.sha256(repr((str(values.dtype), tuple(values.shape[1:]), len(rows))).encode())
    for part in torch.split(rows, _HASHED_ROWS):
        digest.update(values[part].contiguous().numpy().tobytes())
    return digest.hexdigest()
