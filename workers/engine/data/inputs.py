"""Inputs of the trained networks: raw rows after the dataset's transform, computed once if memory allows."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform
from workers.engine.data.columns import Column, Rows
from workers.engine.data.transform import apply

_PREPARED_BYTES = 1 << 30
"""Above this size rows are transformed batch by batch instead of once."""


@dataclass(frozen=True)
class Inputs:
    """Rows of the dataset's input; `transform` is None where it has already been applied."""

    column: Column
    transform: InputTransform | None
    dtype: torch.dtype = torch.float32
    """Of the transformed rows, where `transform` is given."""

    @classmethod
    def prepare(cls, raw: Tensor, transform: InputTransform, device: torch.device) -> "Inputs":
        """For `raw` [N, …] as read from the file."""
        if len(raw) * prod(raw.shape[1:]) * 4 <= _PREPARED_BYTES:
            return cls(Column.on(device, apply(raw, transform)), None)
        return cls(Column.on(device, raw), transform)

    def take(self, rows: Rows) -> Tensor:
        """Transformed rows [n, …] on the device, float32 by default."""
        values = self.column.take(rows)
        return values if self.transform is None else apply(values, self.transform, self.dtype)
