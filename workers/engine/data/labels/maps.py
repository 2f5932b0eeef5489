"""Arrays of class numbers for each pixel as targets."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from app.contracts.base import MOST_MAP_SIDE
from app.contracts.problems import UserError
from app.contracts.resources.inputs.maps import MapTarget
from app.contracts.resources.inputs.tagging import IGNORED
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.formats.common import Array
from workers.engine.data.labels.columns import MISSING

_COLOURS: Final = (3, 4)
"""Last sides of arrays of coloured pixels."""
_AT_ONCE: Final = 1 << 24
"""Pixels that are checked at a time."""


def map_column(name: str, target: MapTarget, raw: Array) -> TargetColumn:
    """Whole numbers [N, height, width], also with one channel -> int16 [N, height · width], in C order.

    -1, -100 and `ignore` are missing. Raises UserError `wrong_type`, `shape_mismatch`, `map_too_large`,
    `label_out_of_range`.
    """
    size, names = classes_of(target)
    maps = _of_two_sides(name, raw)
    shape = (int(maps.shape[1]), int(maps.shape[2]))
    _check_shape(name, target, shape)
    labels = np.empty((len(maps), shape[0] * shape[1]), np.int16)
    step = max(1, _AT_ONCE // labels.shape[1])
    for first in range(0, len(maps), step):
        part = maps[first : first + step]
        found = labels_of(name, target, part, partial(_row, first))
        labels[first : first + step] = found.reshape(len(part), -1)
    values = torch.from_numpy(labels)
    return TargetColumn("map", size, values, (values >= 0).any(1), names, shape=shape)


def _of_two_sides(name: str, raw: Array) -> Array:
    """[N, height, width] of whole numbers."""
    if raw.ndim == 4 and 1 in (raw.shape[1], raw.shape[3]):
        raw = raw[:, 0] if raw.shape[1] == 1 else raw[..., 0]
    if raw.ndim == 4 and (raw.shape[3] in _COLOURS or raw.shape[1] in _COLOURS):
        raise UserError(
            "shape_mismatch",
            f"`{name}` has shape {list(raw.shape)}, as colours have it, expected the number of a class for each pixel, "
            "[rows, height, width]: save the palette's indices, not its colours",
        )
    if raw.ndim != 3:
        raise UserError(
            "shape_mismatch",
            f"`{name}` has shape {list(raw.shape)}, expected the number of a class for each pixel, [rows, height, "
            "width]: save it so, of scores such as `scores.argmax(axis=1)`",
        )
    if raw.dtype.kind not in "iub":
        raise UserError(
            "wrong_type",
            f"`{name}` is {raw.dtype}, expected whole numbers of classes: save it as uint8 or int64, with -1 or "
            "`ignore` where there is no label",
        )
    return raw


def _check_shape(name: str, target: MapTarget, shape: tuple[int, int]) -> None:
    if target.shape is not None and shape != target.shape:
        raise UserError(
            "shape_mismatch",
            f"the maps of `{name}` have shape {list(shape)}, and `shape` says {list(target.shape)}: correct it, or "
            "leave it out",
        )
    if max(shape) > MOST_MAP_SIDE:
        raise UserError(
            "map_too_large",
            f"the maps of `{name}` have shape {list(shape)}, expected sides of at most {MOST_MAP_SIDE}: upload "
            "smaller ones",
        )


def _row(first: int, place: int) -> str:
    return f"at row {first + place}"


def classes_of(target: MapTarget) -> tuple[int, tuple[str, ...] | None]:
    """(number of classes, their names if it has any)."""
    if isinstance(target.classes, int):
        return target.classes, None
    return len(target.classes), target.classes


def labels_of(name: str, target: MapTarget, maps: Array, place: Callable[[int], str]) -> NDArray[np.int16]:
    """The labels of whole numbers [n, height, width], MISSING where there is none. `place`: where map i stands.

    Raises UserError `label_out_of_range`.
    """
    size, _ = classes_of(target)
    missing = np.isin(maps, [*IGNORED, *([] if target.ignore is None else [target.ignore])])
    wrong = ~missing & ((maps < 0) | (maps >= size))
    if wrong.any():
        row, y, x = (int(each) for each in np.argwhere(wrong)[0])
        found = int(maps[row, y, x])
        way_out = "" if target.ignore is not None else f', or `"ignore": {max(found, 0)}` where it means no label'
        raise UserError(
            "label_out_of_range",
            f"`{name}` has the label {found} {place(row)}, pixel [{y}, {x}]: expected a whole number from 0 to "
            f"{size - 1}, or -1 or -100 where there is none{way_out}",
        )
    labels = maps.astype(np.int16)  # before MISSING is written, which unsigned numbers do not hold
    labels[missing] = MISSING
    return labels
