"""Data sets that the package river ships: read as arrays."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _rows(name: str) -> tuple[NDArray[np.float64], list[Any]]:
    """Numbers [rows, columns] and the target of each row as river has it; text is left to the caller."""
    pairs = list(getattr(import_module("river.datasets"), name)())
    return np.array([list(x.values()) for x, _ in pairs], dtype=np.float64), [y for _, y in pairs]


def yeast() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Expression levels [2417, 103] and labels [2417, 14] (Elisseeff and Weston 2001)."""
    x, y = _rows("Yeast")
    return x.astype(np.float32), np.array([list(each.values()) for each in y], dtype=np.float32)


def image_segments() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Measurements [2310, 18] of image regions and their class, one of 7 (UCI, Statlog)."""
    x, y = _rows("ImageSegments")
    return x.astype(np.float32), np.unique(y, return_inverse=True)[1].astype(np.int64)


def bananas() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points [5300, 2] of two classes, of which each surrounds a part of the other."""
    x, y = _rows("Bananas")
    return x.astype(np.float32), np.array(y, dtype=np.int64)


def approval() -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """A day's number and the approval in 5 polls [1001, 6], and a model's estimate from them."""
    x, y = _rows("TrumpApproval")
    return x, np.array(y, dtype=np.float32)
