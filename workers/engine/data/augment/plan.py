"""Augmented training rows of a job, for its students and its teachers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.views import Views
from workers.engine.data.augment import MixingPartners, augment, augmentation_key
from workers.engine.data.columns import Augmentation, Rows
from workers.engine.data.inputs import Inputs
from workers.engine.data.transform import invert


@dataclass(frozen=True)
class AugmentationPlan:
    """The augmentation of the training split's rows; `shape` is the student's input shape."""

    views: Views
    inputs: Inputs
    split: Tensor
    shape: tuple[int, ...]
    transform: InputTransform
    partners: MixingPartners
    dtype: torch.dtype = torch.float32
    """That of the augmented rows before the transform: float64 for a dataset whose rows are."""

    @classmethod
    def of(
        cls,
        views: Views,
        inputs: Inputs,
        split: Tensor,
        shape: tuple[int, ...],
        transform: InputTransform,
        dtype: torch.dtype = torch.float32,
    ) -> "AugmentationPlan":
        """`split`: the training rows, int64 on the host; `transform`: the one that `inputs` applies to raw rows of
        `dtype`.
        """

        def take(rows: Tensor) -> Tensor:
            return inputs.take(Rows.on(inputs.column.device, rows)).reshape(len(rows), *shape)

        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return cls(views, inputs, split.sort().values, shape, transform, MixingPartners(split, take), wide)

    def apply(self, rows: Rows, epoch: int) -> tuple[Tensor, Rows]:
        """(x [n, *shape] augmented as in `epoch` (from 0), the rows with their augmentation)."""
        x = self.inputs.take(rows).reshape(len(rows), *self.shape)
        result = augment(x, rows.host, epoch, self.views, self.partners)
        partner = Rows.on(rows.device.device, result.partner) if result.partner is not None else None
        return result.x, Rows(rows.host, rows.device, Augmentation(epoch, partner, result.share))

    def raw(self, rows: Tensor, epoch: int) -> Tensor:
        """The augmented rows before the transform, in the dataset's shape, as teachers take them."""
        x, _ = self.apply(Rows.on(self.inputs.column.device, rows), epoch)
        return invert(x.reshape(len(rows), *self.inputs.column.values.shape[1:]), self.transform, self.dtype)

    def key(self, epoch: int) -> str:
        """A key of everything that the augmented rows of an epoch depend on besides the raw rows."""
        return augmentation_key(self.views, epoch, self.split) + repr(self.transform.model_dump(mode="json"))
