"""Which rows need float64: those that float32 would round too coarsely for the spread of their column.

float32 has 24 bits for a number, and of a column far from zero (timestamps, coordinates, prices) most of them tell the
offset. Such rows stay float64 until their mean is subtracted; all others are float32 from the start.
"""

import numpy as np

from workers.engine.data.formats.common import Array

MAX_ROUNDING = 2.0**-14
"""Largest error of rounding a column to float32, relative to the column's range: that of an offset of about 1000 times
the range."""
_BLOCK_NUMBERS = 1 << 22


def needs_float64(rows: Array) -> bool:
    """Whether a column of `rows` [n, …] has rounding errors above `MAX_ROUNDING` of its range as float32.

    NaN and infinity are left out. A constant column needs no precision.
    """
    if rows.dtype.itemsize < 4 or rows.dtype == np.float32 or rows.size == 0:
        return False  # exact in float32
    width = rows.size // len(rows)
    low, high, error = np.full(width, np.inf), np.full(width, -np.inf), np.zeros(width)
    step = max(1, _BLOCK_NUMBERS // width)
    for start in range(0, len(rows), step):
        block = rows[start : start + step].reshape(-1, width).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            rounding = np.abs(block - block.astype(np.float32))
        finite = np.isfinite(block) & np.isfinite(rounding)
        low = np.minimum(low, np.where(finite, block, np.inf).min(0))
        high = np.maximum(high, np.where(finite, block, -np.inf).max(0))
        error = np.maximum(error, np.where(finite, rounding, 0.0).max(0))
    varies = high > low
    return bool((error[varies] > MAX_ROUNDING * (high[varies] - low[varies])).any())


def rounded(rows: Array) -> Array:
    """`rows` as float32, or as float64 where `needs_float64`; overflow gives infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.require(rows, np.float64 if needs_float64(rows) else np.float32, ["C", "W"])
