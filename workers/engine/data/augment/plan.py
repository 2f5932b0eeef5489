"""Augmented training rows of a job, for its students and its teachers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform
from app.contracts.specs.views import Views
from workers.engine.data.augment import AugmentedInputs, MixingPartners, augment, augmentation_key
from workers.engine.data.formats.files.encoded import RawRows
from workers.engine.data.rows.columns import Augmentation, Column, Rows
from workers.engine.data.rows.inputs import Inputs
from workers.engine.data.transform import invert

Take = Callable[[Rows], Tensor]
"""Rows -> inputs [n, …] on the device."""


@dataclass(frozen=True)
class _AugmentedRows:
    """Rows after the transform, and those that are mixed into them; `shape` is the student's input shape."""

    inputs: Inputs
    shape: tuple[int, ...]
    partners: MixingPartners

    @classmethod
    def of(cls, inputs: Inputs, split: Tensor, shape: tuple[int, ...]) -> "_AugmentedRows":
        def take(rows: Tensor) -> Tensor:
            return inputs.take(Rows.on(inputs.column.device, rows)).reshape(len(rows), *shape)

        return cls(inputs, shape, MixingPartners(split, take))

    def taken(self, rows: Tensor, epoch: int, views: Views) -> list[Tensor]:
        """The rows that `augmented` takes, in order."""
        return [rows] if views.mixing is None else [rows, self.partners.of(rows, views.seed, epoch)]

    def augmented(self, rows: Rows, epoch: int, views: Views, take: Take) -> AugmentedInputs:
        def partners(others: Tensor) -> Tensor:
            return take(Rows.on(self.inputs.column.device, others)).reshape(len(others), *self.shape)

        x = take(rows).reshape(len(rows), *self.shape)
        return augment(x, rows.host, epoch, views, self.partners.taken_by(partners))


@dataclass(frozen=True)
class AugmentationPlan:
    """The augmentation of the training split's rows."""

    views: Views
    split: Tensor
    transform: InputTransform
    rows: _AugmentedRows
    exact: _AugmentedRows
    """The same in float64 where the raw rows are: teachers take augmented rows before the transform."""

    @classmethod
    def of(
        cls,
        views: Views,
        inputs: Inputs,
        split: Tensor,
        shape: tuple[int, ...],
        transform: InputTransform,
        raw: RawRows,
    ) -> "AugmentationPlan":
        """`split`: the training rows, int64 on the host; `transform`: the one that `inputs` applies to `raw` [N, …], on
        the host; `shape`: the student's input shape.
        """
        rows = exact = _AugmentedRows.of(inputs, split, shape)
        if isinstance(raw, Tensor) and raw.dtype == torch.float64:
            wide = Inputs(Column(raw, inputs.column.device), transform, torch.float64)
            exact = _AugmentedRows.of(wide, split, shape)
        return cls(views, split.sort().values, transform, rows, exact)

    def taken(self, rows: Tensor, epoch: int) -> list[Tensor]:
        """The rows that `apply` takes to augment `rows` (int64 [n], host), in order: themselves, and their partners."""
        return self.rows.taken(rows, epoch, self.views)

    def apply(self, rows: Rows, epoch: int, take: Take | None = None) -> tuple[Tensor, Rows]:
        """(x [n, *shape] augmented as in `epoch` (from 0), the rows with their augmentation). `take`: gives the rows of
        `taken` in their order; None: the inputs do.
        """
        result = self.rows.augmented(rows, epoch, self.views, take or self.rows.inputs.take)
        partner = Rows.on(rows.device.device, result.partner) if result.partner is not None else None
        return result.x, Rows(rows.host, rows.device, Augmentation(epoch, partner, result.share, self.views))

    def raw(self, parts: Sequence[Tensor], epoch: int) -> Iterator[Tensor]:
        """The augmented rows of each part (int64 [n], host) before the transform, in the dataset's shape, as teachers
        take them.
        """
        inputs = self.exact.inputs
        taken = (rows for part in parts for rows in self.exact.taken(part, epoch, self.views))
        with closing(inputs.ahead(taken)) as ahead:
            for part in parts:
                x = self.exact.augmented(Rows.on(inputs.column.device, part), epoch, self.views, ahead.take).x
                yield invert(x.reshape(len(part), *inputs.column.values.shape[1:]), self.transform, x.dtype)

    def key(self, epoch: int) -> str:
        """A key of everything that the augmented rows of an epoch depend on besides the raw rows."""
        exact = "" if self.exact is self.rows else "float64"
        key = augmentation_key(self.views, epoch, self.split)
        return key + repr(self.transform.model_dump(mode="json")) + exact
