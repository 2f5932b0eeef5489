"""Rows of many numbers of which only the largest are kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.data.columns import Rows

ABSENT = -1e4
"""The score of a class that was not kept: no probability at any temperature, so that what was kept sums to 1."""


@dataclass(frozen=True)
class TopK:
    """The k largest scores of each row: `values` [N, k] and their `places` [N, k] among `size` classes."""

    values: Tensor
    places: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: Tensor) -> Tensor:
        """All scores of these rows (int64 [n]), float32 [n, size]."""
        return _spread(self.values[rows].float(), self.places[rows].long(), self.size)


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(values [n, k], places int32 [n, k]) of the k largest scores [n, C] of each row."""
    values, places = scores.topk(k, dim=1)
    return values, places.to(torch.int32)


@dataclass(frozen=True)
class TopKColumn:
    """The same on a device, spread batch by batch."""

    kept: TopK
    device: torch.device

    def take(self, rows: Rows) -> Tensor:
        """All scores of these rows on the device: [n, size]."""
        values, places = self.kept.values[rows.host], self.kept.places[rows.host]
        return _spread(values.to(self.device).float(), places.to(self.device).long(), self.kept.size)


def _spread(values: Tensor, places: Tensor, size: int) -> Tensor:
    return values.new_full((len(values), size), ABSENT).scatter_(1, places, values)
