"""Means of repeated measurements between pairs of tasks, kept on the device."""

from dataclasses import dataclass

import torch
from torch import Tensor

TABLES = ("counts", "sums", "squares")


@dataclass
class RunningStats:
    """Running count, sum and sum of squares of a table of numbers; entries that are NaN were not measured."""

    counts: Tensor
    sums: Tensor
    squares: Tensor

    @classmethod
    def none(cls, shape: tuple[int, ...], device: torch.device) -> "RunningStats":
        """Nothing measured yet; float64, so that long jobs lose nothing."""
        counts, sums, squares = (torch.zeros(shape, dtype=torch.float64, device=device) for _ in TABLES)
        return cls(counts, sums, squares)

    def add(self, values: Tensor) -> None:
        """One more measurement of the table."""
        there = values.isfinite()
        numbers = torch.where(there, values, 0.0).double()
        self.counts += there
        self.sums += numbers
        self.squares += numbers.square()

    def mean(self) -> Tensor:
        """NaN where nothing was measured."""
        return self.sums / self.counts

    def standard_error(self) -> Tensor:
        """Of the mean; infinite with fewer than two measurements."""
        variance = (self.squares - self.sums.square() / self.counts).clamp_min(0.0) / (self.counts - 1.0)
        return torch.where(self.counts > 1.0, (variance / self.counts).sqrt(), torch.inf)

    def state(self) -> dict[str, Tensor]:
        """By name."""
        return {name: getattr(self, name) for name in TABLES}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name in TABLES:
            getattr(self, name).copy_(state[name])
