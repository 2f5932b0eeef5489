"""What share of each batch a dataset has: whole numbers of rows, the same in every batch and on every machine."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil


def _exact(weights: Sequence[float]) -> list[Fraction]:
    """Weights as the decimal numbers that a client writes: 0.1 is a tenth, and 0.1 + 0.2 is 0.3."""
    return [Fraction(repr(float(weight))) for weight in weights]


def quotas(batch: int, weights: Sequence[float]) -> tuple[int, ...]:
    """Rows of each dataset in a batch of `batch` rows, in the proportions of `weights` (all positive).

    Largest remainders: each has its share rounded down, and the rows that are left go to the largest remainders, ties
    to the earlier. At least 1 each from `least_batch` on, and so for any part of the datasets.
    """
    exact = _exact(weights)
    wanted = [batch * weight / sum(exact) for weight in exact]
    found = [int(share) for share in wanted]
    by_remainder = sorted(range(len(found)), key=lambda i: (found[i] - wanted[i], i))
    for i in by_remainder[: batch - sum(found)]:
        found[i] += 1
    return tuple(found)


def least_batch(weights: Sequence[float]) -> int:
    """The smallest batch in which the share of every dataset is one row or more."""
    exact = _exact(weights)
    return ceil(sum(exact) / min(exact))
