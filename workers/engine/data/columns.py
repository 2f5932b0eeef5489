"""Numbers by row, wherever they lie: on the device where they fit, else on the host (memory-mapped or not)."""

from dataclasses import dataclass

import torch
from torch import Tensor

_DEVICE_SHARE = 0.25
"""Most of the device's free memory that one column may take."""


@dataclass(frozen=True)
class Rows:
    """Row numbers on both sides (int64 [n]), so that no gather waits for the device."""

    host: Tensor
    device: Tensor

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
