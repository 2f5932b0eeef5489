"""Numbers by row, wherever they lie: on the device where they fit, else on the host (memory-mapped or not)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_DEVICE_SHARE = 0.25
"""Most of the device's free memory that one column may take."""


@dataclass(frozen=True)
class View:
    """How training rows are seen: in which epoch (from 0), and with whom and how far each is mixed."""

    epoch: int
    partner: "Rows | None" = None
    share: Tensor | None = None


@dataclass(frozen=True)
class Rows:
    """Row numbers on both sides (int64 [n]), so that no gather waits for the device.

    `view` is None where rows are seen as they are.
    """

    host: Tensor
    device: Tensor
    view: View | None = None

    @classmethod
    def on(cls, device: torch.device, rows: Tensor) -> "Rows":
        """`rows` (host) and their copy on `device`."""
        return cls(rows, rows if device.type == "cpu" else rows.to(device, non_blocking=True))

    def __len__(self) -> int:
        return len(self.host)

    def split(self, size: int | list[int]) -> list["Rows"]:
        """Consecutive parts of at most `size` rows, or of these sizes; the views share memory."""
        parts = zip(torch.split(self.host, size), torch.split(self.device, size), strict=True)
        return [Rows(host, device) for host, device in parts]


def joined(parts: Sequence[Rows]) -> Rows:
    """Consecutive parts of a batch as one; they are seen in one epoch."""
    host, device = torch.cat([part.host for part in parts]), torch.cat([part.device for part in parts])
    views = [part.view for part in parts if part.view is not None]
    if not views:
        return Rows(host, device)
    partners = [view.partner for view in views if view.partner is not None]
    shares = [view.share for view in views if view.share is not None]
    partner = joined(partners) if partners else None
    return Rows(host, device, View(views[0].epoch, partner, torch.cat(shares) if shares else None))


@dataclass(frozen=True)
class Column:
    """One value (number, vector, image) for each row of a dataset: [N, …]."""

    values: Tensor
    device: torch.device

    @classmethod
    def on(cls, device: torch.device, values: Tensor) -> "Column":
        """Move `values` to the device where they fit well, else keep them on the host and gather from there."""
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


@dataclass
class ViewedColumn:
    """A column whose values go with the view of a row: `base` [N, …] for rows as they are, `of_epoch(e)` for
    the rows `split` (sorted) as they are seen in epoch e. The last epoch's values are kept.
    """

    base: "Taken"
    split: Tensor
    of_epoch: "Callable[[int], Taken]"
    device: torch.device
    _kept: "tuple[int, Taken] | None" = None

    def take(self, rows: Rows) -> Tensor:
        """The values of these rows, as they are seen, on the device: [n, …]."""
        if rows.view is None:
            return self.base.take(rows)
        epoch = rows.view.epoch
        if self._kept is None or self._kept[0] != epoch:
            self._kept = epoch, self.of_epoch(epoch)
        places = torch.searchsorted(self.split, rows.host)
        return self._kept[1].take(Rows.on(self.device, places))


class Taken(Protocol):
    """Whatever gives values by row."""

    def take(self, rows: Rows) -> Tensor:
        """The values of these rows on the device: [n, …]."""
        ...
