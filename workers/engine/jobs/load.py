"""The datasets of a job as tensors, ready for training."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resolving.data.inputs import student_inputs
from app.contracts.resolving.distillation.searches import folds_of
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.resources.manifests import InputTransform
from app.contracts.resources.splits import SplitName
from app.contracts.specs.jobs import AnyTrainingJob, TrainJob
from app.contracts.specs.stores import StoreSpec
from app.contracts.specs.views import Views
from workers.engine.data.augment.plan import AugmentationPlan
from workers.engine.data.dataset import Dataset
from workers.engine.data.formats.files.encoded import EncodedRows, RawRows
from workers.engine.data.rows.blocks import row_blocks
from workers.engine.data.rows.inputs import Inputs
from workers.engine.data.rows.joined import InputLayout, joined_transform
from workers.engine.evaluation.parties import Outputs, network_outputs
from workers.engine.models import Network
from workers.engine.tasks.run_spec import RunSpec


@dataclass(frozen=True)
class JobData:
    """The rows of a job: raw dataset, transformed inputs, and augmentation."""

    dataset: Dataset
    inputs: Inputs
    augmentation: AugmentationPlan | None
    names: tuple[str, ...]
    """The inputs of the dataset that the student reads, in the dataset's order."""

    @classmethod
    def of(
        cls, spec: AnyTrainingJob, dataset: Dataset, device: torch.device, tokenizers: Mapping[str, str] | None = None
    ) -> "JobData":
        """The data of a job on `device`. It is the same for all seeds and candidates of a job. `tokenizers`: the files
        of an order, by SHA-256. Raises UserError `view_undefined` where a view has no meaning for the tokens of a text.
        """
        names, _, problem = student_inputs(spec.network.inputs, dataset.layout.own_shapes)
        if problem is not None:
            raise UserError(problem.code, problem.detail)
        transform, views = joined_transform(dataset.transforms, dataset.layout.only(names)), spec.training.augmentations
        raw = dataset.layout.rows(dataset.raw, names)
        inputs = Inputs.prepare(raw, transform, device)
        shape = RunSpec.of(spec).architecture.input_shape
        if views is None or shape is None:
            return cls(dataset, inputs, None, names)
        rows = dataset.splits["train"]
        if folds_of(spec) is not None:
            rows = torch.cat([rows, dataset.splits.get("validation", rows[:0])])
        if transform.tokens is not None:  # rows may be narrower than the longest that the student reads
            views, shape = _views_of_tokens(views, transform.tokens, tokenizers or {}), tuple(raw.shape[1:])
        return cls(dataset, inputs, AugmentationPlan.of(views, inputs, rows, shape, transform, raw), names)

    @property
    def input_name(self) -> str:
        """The name of the student's input tensor: of the only input that it reads, else `inputs`."""
        return self.names[0] if len(self.names) == 1 else "inputs"

    @property
    def layout(self) -> InputLayout:
        """The inputs that the student reads."""
        return self.dataset.layout.only(self.names)

    @cached_property
    def raw(self) -> RawRows:
        """The raw rows that the student reads [N, …]."""
        return self.dataset.layout.rows(self.dataset.raw, self.names)

    def select(self, raw: Tensor) -> Tensor:
        """The part of raw rows of the dataset that the student reads."""
        return self.dataset.layout.select(raw, self.names)

    @property
    def transform(self) -> InputTransform:
        """The student's transform of raw rows."""
        return joined_transform(self.dataset.transforms, self.layout)

    @property
    def trained_rows(self) -> Tensor:
        """All rows that training may use: the training split (of which any rows may be mixed), then validation."""
        return torch.cat([self.split("train"), self.split("validation")])

    @cached_property
    def digest_of_inputs(self) -> str:
        """SHA-256 of the inputs of `trained_rows`."""
        return digest_of_rows(self.raw, self.trained_rows)

    def outputs_of(self, network: Network) -> Outputs:
        """The outputs of a network on rows of the dataset, in evaluation mode."""
        return network_outputs(network, self.raw, self.transform, self.inputs.column.device)

    def split(self, name: SplitName) -> Tensor:
        """The rows of a split, int64; empty if the dataset has no such split."""
        return self.dataset.splits.get(name, torch.empty(0, dtype=torch.int64))


def _views_of_tokens(views: Views, encoding: TokenEncoding, tokenizers: Mapping[str, str]) -> Views:
    from workers.engine.data.texts.tokenizer import TextTokenizer  # tokenizers is imported where there are texts
    from workers.engine.data.texts.views import with_ids

    path = None if encoding.ids else Path(tokenizers[encoding.tokenizer])
    return with_ids(views, encoding, TextTokenizer.of_file(path) if path is not None else None)


def store_of(spec: AnyTrainingJob) -> StoreSpec:
    """The soft-target store settings of a job."""
    return StoreSpec() if isinstance(spec, TrainJob) else spec.store


def digest_of_rows(values: RawRows, rows: Tensor) -> str:
    """SHA-256 of rows (int64 [n]) of a column on the host: dtype, shape and bytes; of encoded ones what they depend on
    and their numbers.
    """
    digest = hashlib.sha256(repr((str(values.dtype), tuple(values.shape[1:]), len(rows))).encode())
    if isinstance(values, EncodedRows):
        digest.update(values.key.encode() + rows.numpy().tobytes())
        return digest.hexdigest()
    for part in row_blocks(values, rows):
        digest.update(values[part].contiguous().numpy().tobytes())
    return digest.hexdigest()
