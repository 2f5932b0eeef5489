"""Class scores of which only the k largest of each row are stored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.data.columns import Rows

DROPPED_SCORE = -1e4
"""The score of a class that was not stored: probability 0 at any temperature, so that the stored classes sum to 1."""


@dataclass(frozen=True)
class TopK:
    """The k largest scores of each row: `values` [N, k] and their `indices` [N, k] among `size` classes."""

    values: Tensor
    indices: Tensor
    size: int

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: Tensor) -> Tensor:
        """All scores of these rows (int64 [n]), float32 [n, size]."""
        return _expand(self.values[rows].float(), self.indices[rows].long(), self.size)


def largest_scores(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(values [n, k], indices int32 [n, k]) of the k largest of the scores [n, C] of each row."""
    values, indices = scores.topk(k, dim=1)
    return values, indices.to(torch.int32)


@dataclass(frozen=True)
class TopKColumn:
    """A `TopK` as a column: rows are expanded to [n, size] on the device, batch by batch."""

    stored: TopK
    device: torch.device

    def take(self, rows: Rows) -> Tensor:
        """All scores of these rows on the device: [n, size]."""
        values, indices = self.stored.values[rows.host], self.stored.indices[rows.host]
        return _expand(values.to(self.device).float(), indices.to(self.device).long(), self.stored.size)


def _expand(values: Tensor, indices: Tensor, size: int) -> Tensor:
    return values.new_full((len(values), size), DROPPED_SCORE).scatter_(1, indices, values)
