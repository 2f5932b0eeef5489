"""The inputs as named columns of numbers, and a bounded sample of their rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.tables import InputEncoding
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
    fill: tuple[float, ...] | None = None
    """What replaced a missing number in each column, where there were some."""

    def at(self, rows: Rows) -> NDArray[np.float64]:
        """These rows, [n, columns]."""
        return self.values[rows].astype(np.float64)


def input_columns(dataset: Dataset, manifest: DatasetManifest) -> Iterator[InputColumns]:
    """The inputs of at most MAX_COLUMNS numbers a row."""
    for name, tensor in dataset.numbers.items():
        size = prod(tensor.shape[1:])
        if size > MAX_COLUMNS:
            continue
        encoding = dataset.transforms[name].encoding
        names = _encoded_names(encoding) or getattr(manifest.inputs.get(name), "columns", None) or ()
        if len(names) != size:
            names = tuple(f"{name}[{i}]" for i in range(size))
        fill = encoding.fill if encoding is not None else None
        yield InputColumns(tuple(names), tensor.reshape(len(tensor), size).numpy(), tensor.dim() == 2, fill)


def _encoded_names(encoding: InputEncoding | None) -> tuple[str, ...]:
    """The names of one-hot columns, `colour=red`; none for other inputs."""
    if encoding is None or encoding.categories is None or encoding.encoding != "one_hot":
        return ()
    pairs = zip(encoding.columns, encoding.categories, strict=True)
    return tuple(f"{column}={category}" for column, names in pairs for category in (*names, "(other)"))


def spaced(rows: Rows, size: int) -> Rows:
    """At most MAX_ROWS of these rows, and MAX_NUMBERS numbers at `size` a row, evenly spaced."""
    return evenly(rows, min(MAX_ROWS, max(1, MAX_NUMBERS // size)))


def evenly(rows: Rows, most: int) -> Rows:
    """At most so many of these rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def sample_note(used: int, total: int) -> str:
    """The end of a message about a sample of the rows; empty if all rows were used."""
    return "" if used >= total else f" (in a sample of {used} of {total} rows)"
