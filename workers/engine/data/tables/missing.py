"""Missing numbers of an input, filled from the training split."""

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError
from app.contracts.resources.statistics import ColumnCounts
from app.contracts.resources.tables import MOST_FILL, MOST_PLACES, InputEncoding, Missing
from workers.engine.data.dataset import ColumnUse, SplitRows
from workers.engine.data.formats.common import Array

MOST_COUNTED = 1000
"""Largest number of columns whose missing values are counted one by one."""
_BLOCK = 256
"""Places of which statistics are computed at once: memory beside the rows is bounded."""


def fill_missing(
    name: str, columns: tuple[str, ...], rows: Array, missing: Missing, train: NDArray[np.int64]
) -> tuple[Array, InputEncoding]:
    """(rows [N, …] without NaN, what filled them). Statistics are those of the training rows, in float64, at each place
    of a row; `indicator` appends a 0 or 1 for each number: [N, 2 n].

    Raises UserError `not_finite` where a place has no number in the training split, `shape_mismatch`.
    """
    flat = rows.reshape(len(rows), -1)
    if missing == "indicator" and rows.ndim > 2:
        raise UserError(
            "shape_mismatch",
            f"input `{name}` has rows of shape {list(rows.shape[1:])}: `indicator` appends to flat rows, choose `mean`",
        )
    most = MOST_PLACES // 2 if missing == "indicator" else MOST_PLACES
    if flat.shape[1] > most:
        raise UserError(
            "shape_mismatch",
            f"input `{name}` has {flat.shape[1]} numbers a row, {most} at most where `{missing}` fills missing ones: "
            "fill them before uploading",
        )
    fill = _fills(name, columns, flat, missing, train)
    encoding = InputEncoding(columns=columns, missing=missing, fill=tuple(fill.tolist()))
    return filled(rows, fill, missing), encoding


def filled(rows: Array, fill: NDArray[np.float64], missing: Missing) -> Array:
    """Rows [N, …] with `fill` (one number for each place) for NaN, with indicators [N, 2 n] where `missing` says so."""
    flat = rows.reshape(len(rows), -1)
    absent = np.isnan(flat) if flat.dtype.kind == "f" else np.zeros(flat.shape, bool)
    if absent.any():
        flat = np.where(absent, fill.astype(flat.dtype), flat)
    if missing == "indicator":
        return np.concatenate([flat, absent.astype(flat.dtype)], axis=1)
    return flat.reshape(rows.shape)


def missing_by_column(columns: tuple[str, ...], rows: Array, splits: SplitRows) -> dict[str, ColumnUse]:
    """The number of rows [N, …] with NaN at each place of a row that has any, for at most MOST_COUNTED places."""
    flat = rows.reshape(len(rows), -1)
    if flat.dtype.kind != "f":
        return {}
    uses: dict[str, ColumnUse] = {}
    for place in np.flatnonzero(np.isnan(flat).any(axis=0))[:MOST_COUNTED].tolist():
        absent = np.isnan(flat[:, place])
        name = columns[place] if len(columns) == flat.shape[1] else f"{columns[0]}[{place}]"
        counts = {split: ColumnCounts(missing=int(absent[chosen].sum())) for split, chosen in splits.items()}
        uses[name] = ColumnUse(counts)
    return uses


def _fills(
    name: str, columns: tuple[str, ...], flat: Array, missing: Missing, train: NDArray[np.int64]
) -> NDArray[np.float64]:
    """One number for each place, from the finite ones of the training rows."""
    places = flat.shape[1]
    if missing == "zero":
        return np.zeros(places)
    fill = np.empty(places)
    for start in range(0, places, _BLOCK):
        block = flat[train, start : start + _BLOCK].astype(np.float64)
        block[~np.isfinite(block)] = np.nan
        empty = np.isnan(block).all(0)
        if empty.any():
            raise UserError(
                "not_finite",
                f"input `{name}`: {place_name(columns, start + int(np.argmax(empty)))} has no number in the training "
                'split, so nothing says what fills it: leave it out, or choose `"missing": "zero"`',
            )
        with np.errstate(over="ignore"):  # overflow gives infinity, which is checked below
            fill[start : start + _BLOCK] = (np.nanmedian if missing == "median" else np.nanmean)(block, axis=0)
    large = ~(np.abs(fill) <= MOST_FILL)
    if large.any():
        place = place_name(columns, int(np.argmax(large)))
        raise UserError("not_finite", f"input `{name}`: {place} is too large for float32: use larger units")
    return fill


def place_name(columns: tuple[str, ...], place: int) -> str:
    """How a message names a number of a row."""
    return f"the column `{columns[place]}`" if len(columns) > 1 else f"number {place} of `{columns[0]}`"


INFINITE_WAY_OUT = "replace infinity, and numbers that float32 cannot hold, before uploading"


def missing_way_out() -> str:
    """What can be done about missing numbers."""
    return 'fill it before uploading, or add `"missing": "mean"` ("median", "zero", "indicator") to the input'
