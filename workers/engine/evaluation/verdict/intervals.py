"""Confidence intervals of a difference between two parties on the same rows.

They cover the sampling of test rows, not the noise of training.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from app.contracts.reports.confidence import CONFIDENCE, tail
from app.contracts.reports.quantiles import normal_quantile

RESAMPLES = 2000
_SEED = 20150309
_MAX_GROUPS = 10_000
_ELEMENTS_AT_ONCE = 4_000_000


def newcombe_interval(right: Tensor, other_right: Tensor, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Interval of mean(right) - mean(other_right) for paired binary results (bool [n], n >= 1).

    Newcombe 1998 ("Improved confidence intervals for the difference between binomial proportions based on paired
    data", method 10): Wilson intervals of both proportions, combined by their correlation phi. With D = p1 - p2,

        lower = D - sqrt((p1-l1)² - 2 phi (p1-l1)(u2-p2) + (u2-p2)²)
        upper = D + sqrt((u1-p1)² - 2 phi (u1-p1)(p2-l2) + (p2-l2)²)

    It is deterministic, and has a positive width where no row differs (a bootstrap interval would be ±0).
    """
    n = len(right)
    both = int((right & other_right).sum())
    only = int((right & ~other_right).sum())
    other_only = int((~right & other_right).sum())
    neither = n - both - only - other_only
    first, second = (both + only) / n, (both + other_only) / n
    z = normal_quantile(tail(confidence))
    low1, high1 = _wilson(first, n, z)
    low2, high2 = _wilson(second, n, z)
    phi = _correlation(both, only, other_only, neither)
    below = _combined(first - low1, high2 - second, phi)
    above = _combined(high1 - first, second - low2, phi)
    return first - second - below, first - second + above


def _wilson(share: float, n: int, z: float) -> tuple[float, float]:
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def _correlation(both: int, only: int, other_only: int, neither: int) -> float:
    """Phi with Newcombe's continuity correction; 0 where a margin is empty."""
    margins = (both + only) * (other_only + neither) * (both + other_only) * (only + neither)
    if margins == 0:
        return 0.0
    product = float(both * neither - only * other_only)
    if product > 0.0:
        product = max(product - (both + only + other_only + neither) / 2, 0.0)
    return product / math.sqrt(margins)


def _combined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))


def bootstrap_interval(
    columns: Tensor, statistic: Callable[[Tensor], Tensor], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile bootstrap over rows (Efron 1979), RESAMPLES resamples from a fixed seed.

    `columns` is float64 [n, k]; `statistic` maps the columns' means over each of b resamples (float64 [b, k]) to [b].
    More than 10 000 rows are assigned at random to 10 000 groups, and groups are resampled: the same to first order for
    smooth functions of means, at a bounded cost.
    """
    generator = torch.Generator().manual_seed(_SEED)
    groups = _grouped(columns, generator)
    n = len(groups)
    at_once = max(1, _ELEMENTS_AT_ONCE // n)
    statistics = []
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        picks = torch.randint(n, (count, n), generator=generator)
        statistics.append(statistic(torch.stack([column[picks].mean(dim=1) for column in groups.unbind(dim=1)], dim=1)))
    limits = [tail(confidence), 1.0 - tail(confidence)]
    low, high = torch.quantile(torch.cat(statistics), torch.tensor(limits, dtype=torch.float64)).tolist()
    return low, high


def _grouped(columns: Tensor, generator: torch.Generator) -> Tensor:
    """Sums over random groups of rows if there are too many rows, scaled so that means do not change."""
    n = len(columns)
    if n <= _MAX_GROUPS:
        return columns
    group = torch.randperm(n, generator=generator) % _MAX_GROUPS
    sums = torch.zeros(_MAX_GROUPS, columns.shape[1], dtype=columns.dtype)
    return sums.index_add_(0, group, columns) * (_MAX_GROUPS / n)
