"""The inputs as named columns of numbers, and a bounded sample of their rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.manifests import DatasetManifest
from workers.engine.data.dataset import Dataset

MAX_COLUMNS = 2048
"""Inputs with more numbers a row are not looked at column by column."""
MAX_NUMBERS = 1 << 22
MAX_ROWS = 50_000

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class InputColumns:
    """An input with few numbers a row; `flat`: it is a list of columns, not an image or a series."""

    names: tuple[str, ...]
    values: NDArray[Any]
    flat: bool

    def at(self, rows: Rows) -> NDArray[np.float64]:
        """These rows, [n, columns]."""
        return self.values[rows].astype(np.float64)


def input_columns(dataset: Dataset, manifest: DatasetManifest) -> Iterator[InputColumns]:
    """The inputs of at most MAX_COLUMNS numbers a row."""
    for name, tensor in dataset.inputs.items():
        size = prod(tensor.shape[1:])
        if size > MAX_COLUMNS:
            continue
        listed = getattr(manifest.inputs.get(name), "columns", None) or ()
        flat = tensor.dim() == 2
        names = listed if len(listed) == size else tuple(f"{name}[{i}]" for i in range(size))
        yield InputColumns(tuple(names), tensor.reshape(len(tensor), size).numpy(), flat)


def spaced(rows: Rows, size: int) -> Rows:
    """At most MAX_ROWS of these rows, and MAX_NUMBERS numbers at `size` a row, evenly spaced."""
    most = min(MAX_ROWS, max(1, MAX_NUMBERS // size))
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def sample_note(used: int, total: int) -> str:
    """The end of a message about a sample of the rows; empty if all rows were used."""
    return "" if used >= total else f" (in a sample of {used} of {total} rows)"


def listed(names: list[str], most: int = 8) -> str:
    """A short list of names for a message."""
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
