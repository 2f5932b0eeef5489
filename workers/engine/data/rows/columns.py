"""Columns of numbers, gathered by row: on the device where they fit, else on the host (memory-mapped or not)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from app.contracts.specs.views import Views
from workers.engine.data.formats.files.encoded import EncodedRows

_DEVICE_SHARE = 0.25
"""Largest share of the device's free memory that one column may take."""


@dataclass(frozen=True)
class Augmentation:
    """How training rows were augmented: in which epoch (from 0), by which views and, where rows are mixed, each row's
    partner and its own share λ [n].
    """

    epoch: int
    partner: "Rows | None" = None
    share: Tensor | None = None
    views: Views | None = None


@dataclass(frozen=True)
class Rows:
    """Row numbers on host and device (int64 [n]), so that no gather waits for the device.

    `augmentation` is None for rows that are not augmented.
    """

    host: Tensor
    device: Tensor
    augmentation: Augmentation | None = None

    @classmethod
    def on(cls, device: torch.device, rows: Tensor) -> "Rows":
        """`rows` (host) with a copy on `device`."""
        return cls(rows, rows if device.type == "cpu" else rows.to(device, non_blocking=True))

    def __len__(self) -> int:
        return len(self.host)

    def split(self, size: int | list[int]) -> list["Rows"]:
        """Consecutive parts of at most `size` rows, or of these sizes, as views of the same memory."""
        parts = zip(torch.split(self.host, size), torch.split(self.device, size), strict=True)
        return [Rows(host, device) for host, device in parts]


def concatenate(parts: Sequence[Rows]) -> Rows:
    """The parts of a batch, which belong to one epoch, as one."""
    host, device = torch.cat([part.host for part in parts]), torch.cat([part.device for part in parts])
    augmentations = [part.augmentation for part in parts if part.augmentation is not None]
    if not augmentations:
        return Rows(host, device)
    partners = [each.partner for each in augmentations if each.partner is not None]
    shares = [each.share for each in augmentations if each.share is not None]
    partner = concatenate(partners) if partners else None
    share = torch.cat(shares) if shares else None
    return Rows(host, device, Augmentation(augmentations[0].epoch, partner, share, augmentations[0].views))


@dataclass(frozen=True)
class Column:
    """One value (number, vector, image) for each row of a dataset: [N, …]."""

    values: Tensor
    device: torch.device

    @classmethod
    def on(cls, device: torch.device, values: Tensor) -> "Column":
        """Move `values` to the device if they fit well, else keep them on the host and gather from there."""
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if values.nbytes <= free * _DEVICE_SHARE:
                values = values.to(device)
        return cls(values, device)

    def take(self, rows: Rows) -> Tensor:
        """The values of these rows on the device: [n, …]."""
        if self.values.device == rows.device.device:
            return self.values.index_select(0, rows.device)
        return self.values.index_select(0, rows.host).to(self.device, non_blocking=True)


@dataclass(frozen=True)
class EncodedColumn:
    """Rows [N, …] that are decoded on the host whenever they are taken."""

    values: EncodedRows
    device: torch.device

    def take(self, rows: Rows) -> Tensor:
        """The values of these rows on the device: [n, …]."""
        return self.values[rows.host].to(self.device, non_blocking=True)


@dataclass
class AugmentedColumn:
    """A column whose values depend on the augmentation of a row.

    `base` [N, …] is for rows that are not augmented, `of_epoch(e)` for the rows `split` (sorted) as augmented in
    epoch e. The values of the last epoch are cached.
    """

    base: "ColumnLike"
    split: Tensor
    of_epoch: "Callable[[int], ColumnLike]"
    device: torch.device
    _cached: "tuple[int, ColumnLike] | None" = None

    def take(self, rows: Rows) -> Tensor:
        """The values of these rows, as augmented, on the device: [n, …]."""
        column, at = self.resolved(rows)
        return column.take(at)

    def resolved(self, rows: Rows) -> "tuple[ColumnLike, Rows]":
        """The column that has the values of these rows, as augmented, and their rows in it."""
        if rows.augmentation is None:
            return self.base, rows
        epoch = rows.augmentation.epoch
        if self._cached is None or self._cached[0] != epoch:
            self._cached = epoch, self.of_epoch(epoch)
        indices = torch.searchsorted(self.split, rows.host)
        return self._cached[1], Rows.on(self.device, indices)


class ColumnLike(Protocol):
    """A column, whatever its storage."""

    def take(self, rows: Rows) -> Tensor:
        """The values of these rows on the device: [n, …]."""
        ...
