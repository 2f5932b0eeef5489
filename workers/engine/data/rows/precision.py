"""Which rows need float64: those that float32 would round too coarsely for the spread of their column.

float32 has 24 bits for a number, and of a column far from zero (timestamps, coordinates, prices) most of them tell the
offset. Numbers below 1e-38 have fewer bits, down to none. Such rows stay float64 until their mean is subtracted; all
others are float32 from the start.
"""

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from workers.engine.data.formats.common import Array

MAX_ROUNDING = 2.0**-14
"""Largest error of rounding a column to float32, relative to the column's range: that of an offset of about 1000 times
the range."""
_HALF_UNIT = 2.0**-24
"""Largest error of rounding a number to float32, relative to the number."""
_SMALLEST_ERROR = 2.0**-150
"""Largest error of rounding numbers close to zero, below 1e-38: float32 has only multiples of 2⁻¹⁴⁹ there."""
_BLOCK_NUMBERS = 1 << 22


def needs_float64(rows: Array) -> bool:
    """Whether a column of `rows` [n, …] has rounding errors above `MAX_ROUNDING` of its range as float32.

    NaN and infinity are left out. A constant column needs no precision.
    """
    if rows.dtype.itemsize < 4 or rows.dtype == np.float32 or rows.size == 0:
        return False  # exact in float32
    columns = rows.reshape(len(rows), -1)
    with np.errstate(invalid="ignore"):
        low, high = (ends(columns, axis=0).astype(np.float64) for ends in (np.fmin.reduce, np.fmax.reduce))
        largest = np.maximum(np.abs(low), np.abs(high))
        rounding = np.maximum(_HALF_UNIT * largest, _SMALLEST_ERROR)
        suspected = ~(rounding <= MAX_ROUNDING * (high - low)) & ~(low == high)  # true for NaN and infinity as well
    return any(_rounds_too_much(columns[:, column]) for column in np.flatnonzero(suspected))


def _rounds_too_much(column: Array) -> bool:
    numbers = column.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rounding = np.abs(numbers - numbers.astype(np.float32))
    finite = np.isfinite(rounding)
    if not finite.any():
        return False
    spread = numbers[finite].max() - numbers[finite].min()
    return bool(spread > 0.0 and rounding[finite].max() > MAX_ROUNDING * spread)


def rounded(rows: Array, exact: bool = False) -> Array:
    """`rows` as float32, or as float64 where `needs_float64`, or with `exact` where float32 lacks any of the numbers;
    overflow gives infinity.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        wide = not _is_exact(rows) if exact else needs_float64(rows)
        return np.require(rows, np.float64 if wide else np.float32, ["C", "W"])


def _is_exact(rows: Array) -> bool:
    """Whether float32 has every number of `rows` that is not NaN."""
    if np.can_cast(rows.dtype, np.float32):
        return True
    return all(bool(((part.astype(np.float32) == part) | np.isnan(part)).all()) for part in _blocks(rows))


def finite_in_float32(rows: Array) -> NDArray[np.bool_]:
    """Bool [N]: which rows [N, …] have no NaN and, as float32, no infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        parts = (np.isfinite(part.astype(np.float32, copy=False)) for part in _blocks(rows))
        return np.concatenate([part.reshape(len(part), -1).all(1) for part in parts])


def _blocks(rows: Array) -> Iterator[Array]:
    """Consecutive rows [n, …] of _BLOCK_NUMBERS at most."""
    step = max(1, _BLOCK_NUMBERS // max(1, prod(rows.shape[1:])))
    return (rows[start : start + step] for start in range(0, len(rows), step))
