"""Loading: the datasets of a job as tensors, ready to be trained on."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform, SplitName
from app.contracts.specs.jobs import TrainJob
from app.contracts.specs.stores import StoreSpec
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.dataset import Dataset
from workers.engine.data.inputs import Inputs
from workers.engine.jobs.search import folds_of
from workers.engine.tasks.run_spec import RunSpec, Spec

_HASHED_ROWS = 4096


@dataclass(frozen=True)
class JobData:
    """The rows of a job: as they were uploaded, as networks of ours take them, and how they are augmented."""

    dataset: Dataset
    inputs: Inputs
    augmentation: AugmentationPlan | None

    @classmethod
    def of(cls, spec: Spec, dataset: Dataset, device: torch.device) -> "JobData":
        """Rows on `device`. Seeds and searches change neither inputs nor augmentation."""
        name = next(iter(dataset.inputs))
        transform, views = dataset.transforms[name], spec.training.views
        inputs = Inputs.prepare(dataset.inputs[name], transform, device)
        shape = RunSpec.of(spec).architecture.input_shape
        if views is None or shape is None:
            return cls(dataset, inputs, None)
        rows = dataset.splits["train"]
        if folds_of(spec) is not None:
            rows = torch.cat([rows, dataset.splits.get("validation", rows[:0])])
        return cls(dataset, inputs, AugmentationPlan.of(views, inputs, rows, shape, transform))

    @property
    def input_name(self) -> str:
        """The name of the input, of which a dataset has one."""
        return next(iter(self.dataset.inputs))

    @property
    def transform(self) -> InputTransform:
        """What the student does to raw rows."""
        return self.dataset.transforms[self.input_name]

    @property
    def trained_rows(self) -> Tensor:
        """Every row that training may use: the training split (augmentation mixes rows), then the validation split."""
        return torch.cat([self.split("train"), self.split("validation")])

    @cached_property
    def digest_of_inputs(self) -> str:
        """Of the inputs of `trained_rows`."""
        return digest_of_rows(self.dataset.inputs[self.input_name], self.trained_rows)

    def split(self, name: SplitName) -> Tensor:
        """The rows of a split, int64; none where the dataset has no such split."""
        return self.dataset.splits.get(name, torch.empty(0, dtype=torch.int64))


def store_of(spec: Spec) -> StoreSpec:
    """How a job stores its teachers' outputs."""
    return StoreSpec() if isinstance(spec, TrainJob) else spec.store


def digest_of_rows(values: Tensor, rows: Tensor) -> str:
    """SHA-256 of rows (int64 [n]) of a column on the host: type, shape, bytes."""
    digest = hashlib.sha256(repr((str(values.dtype), tuple(values.shape[1:]), len(rows))).encode())
    for part in torch.split(rows, _HASHED_ROWS):
        digest.update(values[part].contiguous().numpy().tobytes())
    return digest.hexdigest()
