"""Inputs of the trained networks: raw rows after the dataset's transform, computed once if memory allows."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from app.contracts.resources.manifests import InputTransform
from workers.engine.common.progress import moved
from workers.engine.data.formats.files.encoded import EncodedRows, RawRows
from workers.engine.data.rows.blocks import row_blocks
from workers.engine.data.rows.columns import Column, EncodedColumn, Rows
from workers.engine.data.transform import apply

_PREPARED_BYTES = 1 << 30
"""Above this size rows are transformed batch by batch instead of once."""
_PREPARED_BYTES_OF_PIXELS = 256 << 20
"""The same for rows of 8 bits a number, which take four times their size."""


@dataclass(frozen=True)
class Inputs:
    """Rows of the dataset's input; `transform` is None where it has already been applied."""

    column: Column | EncodedColumn
    transform: InputTransform | None
    dtype: torch.dtype = torch.float32
    """Of the transformed rows, where `transform` is given."""

    @classmethod
    def prepare(cls, raw: RawRows, transform: InputTransform, device: torch.device) -> "Inputs":
        """For `raw` [N, …] as read from the file."""
        if isinstance(raw, EncodedRows):
            return cls(EncodedColumn(raw, device), transform)
        most = _PREPARED_BYTES_OF_PIXELS if raw.dtype == torch.uint8 else _PREPARED_BYTES
        if len(raw) * prod(raw.shape[1:]) * 4 <= most:
            return cls(Column.on(device, _transformed(raw, transform)), None)
        return cls(Column.on(device, raw), transform)

    def take(self, rows: Rows) -> Tensor:
        """Transformed rows [n, …] on the device, float32 by default."""
        return self.transformed(self.column.take(rows))

    def transformed(self, values: Tensor) -> Tensor:
        """Rows of the column [n, …] as `take` gives them."""
        return values if self.transform is None else apply(values, self.transform, self.dtype)

    def ahead(self, parts: Iterable[Tensor]) -> "InputsAhead":
        """Takes the rows of these parts (row numbers int64 [n], host) in their order. Where they are encoded, coming
        ones are decoded meanwhile. To be closed.
        """
        return InputsAhead(self, parts)

    def each(self, parts: Sequence[Rows]) -> Iterator[Tensor]:
        """`take` of each part, of which coming ones are decoded meanwhile."""
        with closing(self.ahead(part.host for part in parts)) as ahead:
            for part in parts:
                moved()
                yield ahead.take(part)


class InputsAhead:
    """Rows that are taken in an order that is known before. `waited`: seconds until they were there, in all; of a
    device's memory until the copy was asked for.
    """

    def __init__(self, inputs: Inputs, parts: Iterable[Tensor]) -> None:
        values = inputs.column.values
        self.waited = 0.0
        self._inputs = inputs
        self._decoded = values.ahead(parts) if isinstance(values, EncodedRows) else None

    def take(self, rows: Rows) -> Tensor:
        """Transformed rows [n, …] on the device. Raises RuntimeError for rows that are not the next part."""
        begun = time.perf_counter()
        values = self._inputs.column.take(rows) if self._decoded is None else self._next(self._decoded, rows)
        self.waited += time.perf_counter() - begun
        return self._inputs.transformed(values)

    def close(self) -> None:
        """End the threads."""
        if self._decoded is not None:
            self._decoded.close()

    def _next(self, decoded: Iterator[tuple[Tensor, Tensor]], rows: Rows) -> Tensor:
        numbers, values = next(decoded)
        if not torch.equal(numbers, rows.host):
            raise RuntimeError("rows were taken in another order than they were decoded in")
        return values.to(self._inputs.column.device, non_blocking=True)


def _transformed(raw: Tensor, transform: InputTransform) -> Tensor:
    """`apply` to all rows, block by block: its intermediate results take several times the rows' size."""
    result = torch.empty(raw.shape)
    for part in row_blocks(raw, dtype=torch.float64):
        result[part] = apply(raw[part], transform)
    return result
