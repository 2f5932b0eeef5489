"""Inputs of the trained networks: raw rows after the dataset's transform, computed once if memory allows."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform
from workers.engine.data.rows.blocks import row_blocks
from workers.engine.data.rows.columns import Column, Rows
from workers.engine.data.transform import apply

_PREPARED_BYTES = 1 << 30
"""Above this size rows are transformed batch by batch instead of once."""
_PREPARED_BYTES_OF_PIXELS = 256 << 20
"""The same for rows of 8 bits a number, which take four times their size."""


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
        most = _PREPARED_BYTES_OF_PIXELS if raw.dtype == torch.uint8 else _PREPARED_BYTES
        if len(raw) * prod(raw.shape[1:]) * 4 <= most:
            return cls(Column.on(device, _transformed(raw, transform)), None)
        return cls(Column.on(device, raw), transform)

    def take(self, rows: Rows) -> Tensor:
        """Transformed rows [n, …] on the device, float32 by default."""
        values = self.column.take(rows)
        return values if self.transform is None else apply(values, self.transform, self.dtype)


def _transformed(raw: Tensor, transform: InputTransform) -> Tensor:
    """`apply` to all rows, block by block: its intermediate results take several times the rows' size."""
    result = torch.empty(raw.shape)
    for part in row_blocks(raw, dtype=torch.float64):
        result[part] = apply(raw[part], transform)
    return result
