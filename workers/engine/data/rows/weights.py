"""Weights of rows: read, counted, and divided by their mean for a loss.

A loss of n rows is Σ w_i l_i / n with weights of mean 1 over the rows that are trained on (Horvitz and Thompson 1952):
its mean over batches is the weighted loss of the split, and micro-batches add up. Dividing by the batch's Σ w_i instead
(Hájek 1971, torch's weighted mean) would make a row count more or less by what it happens to be in a batch with.
"""

import numpy as np
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.statistics import WeightStatistics
from workers.engine.data.formats.common import Array

LARGEST = 1e30


def weight_column(name: str, numbers: Array) -> Tensor:
    """The weights float64 [N] of a column of numbers [N] or [N, 1]. Raises UserError `wrong_weight`."""
    if numbers.size != len(numbers):
        raise UserError(
            "wrong_weight",
            f"the row weights `{name}` have rows of {numbers.size // max(1, len(numbers))} numbers, expected one "
            "number a row: give each column a name of its own in `weights`",
        )
    weights = numbers.reshape(-1).astype(np.float64)
    wrong = ~((weights >= 0.0) & (weights <= LARGEST))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            "wrong_weight",
            f"the row weights `{name}` have {weights[row]} at row {row} ({int(wrong.sum())} such rows in all), "
            "expected numbers from 0 on: write 0 for a row that is to be left out of the loss",
            row,
        )
    if not weights.any():
        raise UserError("wrong_weight", f"the row weights `{name}` are all 0, expected some above it: raise a weight")
    return torch.from_numpy(weights)


def weight_statistics(weights: Tensor, rows: Tensor) -> WeightStatistics:
    """The statistics of weights [N] on the rows of a split, int64 [n], n > 0."""
    values = weights[rows]
    total, squares = float(values.sum()), float(values.square().sum())
    return WeightStatistics(
        rows=len(rows),
        zeros=int((values == 0.0).sum()),
        minimum=float(values.min()),
        maximum=float(values.max()),
        sum=total,
        effective=total**2 / squares if squares else 0.0,
    )


def with_mean_one(name: str, weights: Tensor, rows: Tensor) -> Tensor:
    """Weights [N] divided by their mean over `rows` (int64 [n]), float32; unchanged without rows. Raises UserError
    `weights_sum_to_zero`.
    """
    if len(rows) == 0:
        return weights.float()
    mean = float(weights[rows].mean())
    if mean == 0.0:
        raise UserError(
            "weights_sum_to_zero",
            f"the row weights `{name}` of the {len(rows)} training rows that a loss counts are all 0: raise some of "
            "them",
        )
    return (weights / mean).float()
