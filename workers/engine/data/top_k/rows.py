"""Rows of which the largest scores are stored, as probabilities of all classes at a temperature."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.data.rows.columns import Rows
from workers.engine.data.top_k.packing import DRAW_TEMPERATURE, TopKPacking
from workers.engine.data.top_k.rest import log_mass

ESTIMATED = 0.5
"""Share of the rest's mass that the drawn classes get as an estimate without bias; what is left is spread as in
`TopKColumn.softened`. At 1 students overfit the draws of their rows where these are few, at 0 they never learn which of
the other classes are likely: 0.5 was best or near it at temperatures 1, 2 and 4 (tests/benchmarks/accuracy/top_k).
"""
_LEAST_SHARE = 1e-6
"""Least share of the rest's mass for the classes that are not stored, where rounding leaves them less."""


@dataclass(frozen=True)
class TopK:
    """What is stored of each row: `numbers` [N, packing.numbers], `indices` [N, packing.stored] of the classes."""

    numbers: Tensor
    indices: Tensor
    packing: TopKPacking

    def __len__(self) -> int:
        return len(self.numbers)

    def at(self, rows: Tensor) -> Tensor:
        """Log-probabilities of all classes at temperature 1 for these rows (int64 [n]): float32 [n, size]."""
        return TopKColumn(self, self.numbers.device).take(Rows(rows, rows))


@dataclass(frozen=True)
class TopKColumn:
    """A `TopK` as a column: rows are expanded to [n, size] on the device, batch by batch."""

    stored: TopK
    device: torch.device

    def take(self, rows: Rows) -> Tensor:
        """Log-probabilities of all classes at temperature 1 for these rows, on the device: [n, size]."""
        return self.softened(rows, 1.0)

    def softened(self, rows: Rows, temperature: float | Tensor) -> Tensor:
        """Log-probabilities of all classes at a temperature for these rows: [n, size]; they sum to 1.

        Those of the stored classes are the teacher's. The mass that it gives to the others is spread evenly over them.
        """
        return _Expansion.of(self, rows, temperature).log_probabilities()

    def drawn(self, rows: Rows, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
        """(`softened`, weights) for these rows, each [n, size]; weights sum to 1.

        The weights estimate the teacher's probabilities: exact for the k largest, with the exact mass of the others on
        the drawn ones, each in proportion to its probability divided by that of being drawn. That has no bias at
        `DRAW_TEMPERATURE`, little at others, and much variance: it counts with `ESTIMATED`, the probabilities of
        `softened` with what is left.
        """
        expansion = _Expansion.of(self, rows, temperature)
        log_p = expansion.log_probabilities()
        return log_p, torch.lerp(log_p.exp(), expansion.estimates(), ESTIMATED)


@dataclass(frozen=True)
class _Expansion:
    """Some rows at a temperature. `top` [n, k] and `drawn` [n, draws] are scores divided by it; `rest` [n] is the
    logarithm of what all classes but the k largest add to the softmax.
    """

    top: Tensor
    drawn: Tensor
    rest: Tensor
    indices: Tensor
    copies: Tensor
    temperature: float | Tensor
    size: int

    @classmethod
    def of(cls, column: TopKColumn, rows: Rows, temperature: float | Tensor) -> "_Expansion":
        packing, device = column.stored.packing, column.device
        numbers = column.stored.numbers[rows.host].to(device).float()
        indices = column.stored.indices[rows.host].to(device).long()
        drawn = indices[:, packing.k :]
        return cls(
            numbers[:, : packing.k] / temperature,
            numbers[:, packing.k : packing.stored] / temperature,
            log_mass(numbers[:, packing.stored :], packing.size - packing.k, temperature),
            indices,
            (drawn[:, :, None] == drawn[:, None, :]).sum(2).to(numbers.dtype),
            temperature,
            packing.size,
        )

    def log_probabilities(self) -> Tensor:
        known = self.drawn - self.copies.log()
        left = self.size - self.top.shape[1] - self.copies.reciprocal().sum(1).round()
        spare = (1.0 - (known - self.rest[:, None]).exp().sum(1)).clamp_min(_LEAST_SHARE)
        others = (self.rest + spare.log()).where(left > 0, -torch.inf)
        total = torch.cat([self.top, known, others[:, None]], dim=1).logsumexp(1, keepdim=True)
        even = others[:, None] - left.clamp_min(1.0).log()[:, None] - total
        stored = torch.cat([self.top, self.drawn], dim=1) - total
        return even.expand(-1, self.size).scatter(1, self.indices, stored)

    def estimates(self) -> Tensor:
        total = torch.logaddexp(self.top.logsumexp(1), self.rest)[:, None]
        shares = torch.softmax(self.drawn * (1.0 - self.temperature / DRAW_TEMPERATURE), dim=1) * self.copies
        stored = torch.cat([(self.top - total).exp(), shares * (self.rest[:, None] - total).exp()], dim=1)
        return stored.new_zeros(len(stored), self.size).scatter(1, self.indices, stored)
