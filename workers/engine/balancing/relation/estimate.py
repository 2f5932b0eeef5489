"""From measured affinities to the relation matrix R."""

import torch
from torch import Tensor

from workers.engine.balancing.relation.running_stats import RunningStats

LEAST = 5
"""Measurements before an estimate is used; until then every task teaches itself alone."""
SURE = 3.0
"""Standard errors that a mean must be away from 0 to count."""

Matrix = tuple[tuple[float, ...], ...]


def identity(size: int) -> Matrix:
    """Every task teaches itself alone."""
    return tuple(tuple(float(i == j) for j in range(size)) for i in range(size))


def relation_of(affinity: RunningStats) -> Matrix:
    """R_ij = max(0, Z_{j→i}) / Z_{i→i}, where Z is surely positive, and 1 on the diagonal; not yet normalised.

    `affinity` [K, K] holds what task j (column) does for task i (row). A task that does not surely help itself has
    itself alone. Waits for the device.
    """
    mean, error = affinity.mean().cpu(), affinity.standard_error().cpu()
    sure = (mean > SURE * error) & (affinity.counts.cpu() >= LEAST)
    own = mean.diagonal()[:, None]
    shares = torch.where(sure & sure.diagonal()[:, None], mean / own, torch.zeros_like(mean))
    shares.fill_diagonal_(1.0)
    return tuple(tuple(row) for row in shares.tolist())


def listed(table: Tensor) -> tuple[tuple[float | None, ...], ...]:
    """A table as JSON: None where it is not finite."""
    return tuple(
        tuple(value if found else None for value, found in zip(row, there, strict=True))
        for row, there in zip(table.tolist(), table.isfinite().tolist(), strict=True)
    )
