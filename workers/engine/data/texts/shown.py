"""Texts as they stand in the file, to be shown."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.engine.data.formats.common import Array
from workers.engine.data.formats.written import FileColumns


def texts_of(columns: Sequence[str], file: FileColumns, rows: NDArray[np.int64]) -> Array:
    """The texts of these rows [m] in each column, str [m, columns], empty where one is missing; the words of a list
    with spaces between.
    """
    return np.array([[_text(column, file, row) for column in columns] for row in rows.tolist()], dtype=object)


def _text(column: str, file: FileColumns, row: int) -> str:
    if column in file.texts:
        return file.texts[column].at(row)
    return " ".join(map(str, file.lists[column].read(range(row, row + 1))[0] or ()))
