"""Rows of a file brought into the shape and layout that a manifest describes."""

import numpy as np

from app.contracts.problems import UserError
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.resources.row_layouts import channels_first, may_become
from workers.engine.data.formats.common import Array

MAX_DIMENSIONS = 4


def arranged(name: str, spec: ArrayInput, raw: Array) -> Array:
    """Rows [n, *row] in the manifest's `shape`, then with the channels in front. Raises UserError `shape_mismatch` or
    `layout_mismatch`.
    """
    row = raw.shape[1:]
    if spec.shape is not None:
        if not may_become(row, spec.shape):
            raise _misfit(name, spec, row)
        raw = raw.reshape(len(raw), *spec.shape)
    if raw.ndim > MAX_DIMENSIONS + 1:
        raise UserError(
            "shape_mismatch",
            f"input `{name}` has rows of {raw.ndim - 1} dimensions, {MAX_DIMENSIONS} at most: flatten some",
        )
    if spec.layout != "channels_last":
        return raw
    if raw.ndim < 3:
        raise UserError(
            "shape_mismatch",
            f"input `{name}` has flat rows of {raw.shape[1]} numbers, which have no channels: say their `shape` in the "
            "file, as [height, width, channels], or leave `layout` out",
        )
    return np.moveaxis(raw, -1, 1)


def _misfit(name: str, spec: ArrayInput, row: tuple[int, ...]) -> UserError:
    found = f"input `{name}` has rows of shape {list(row)}"
    assert spec.shape is not None
    if np.prod(row) != np.prod(spec.shape):
        return UserError("shape_mismatch", f"{found}, expected {list(spec.shape)}")
    if spec.layout == "channels_last" and channels_first(row) == spec.shape:
        way_out = "`shape` describes the rows in the file, before `layout` moves the channels: leave `shape` out"
    elif may_become(channels_first(row), spec.shape):
        way_out = 'leave `shape` out and set `"layout": "channels_last"`, which moves the last side to the front'
    else:
        way_out = "`shape` reshapes flat rows only: leave it out, or upload the rows in that shape"
    return UserError("layout_mismatch", f"{found}, which cannot be read as {list(spec.shape)}: {way_out}")
