"""The values of a column as they stand in the file, as text: what a person reads there and sends to a student."""

import re
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workers.engine.data.formats.common import Array, EncodedFiles
from workers.engine.data.formats.text_column import ListColumn, TextColumn

FileType = Literal["bool", "number", "text"]
"""What the file says that a column holds; dates and times are text, and so is a boolean that may be missing."""
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Written:
    """A column as the file has it.

    `texts`: for each distinct value the texts that programs make of it, first the one of `str` on what the format's
    usual reader gives (module csv, module json, pyarrow, numpy). They are made when they are first asked for: a column
    that is refused for its many values needs none. `codes`: int32 [N, …], the place of each row's value among them.
    """

    texts: Callable[[], Sequence[tuple[str, ...]]]
    codes: NDArray[np.int32]
    kind: FileType

    def part(self, place: int) -> "Written":
        """One column of rows [N, k]."""
        return replace(self, codes=self.codes.reshape(len(self.codes), -1)[:, place])


@dataclass(frozen=True)
class FileColumns:
    """Columns by name, all with the same number of rows; `written` has those that are read as categories, `encoded`
    those of encoded images and sounds, `texts` those of texts, `lists` those of lists. `header`: all columns that the
    file says to have, empty where it has no header; `files`: of several files, their rows by name.
    """

    arrays: dict[str, Array]
    written: dict[str, Written] = field(default_factory=dict)
    encoded: dict[str, EncodedFiles] = field(default_factory=dict)
    texts: dict[str, TextColumn] = field(default_factory=dict)
    lists: dict[str, ListColumn] = field(default_factory=dict)
    header: frozenset[str] = frozenset()
    files: dict[str, int] = field(default_factory=dict)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of the largest array."""
        return max((each.nbytes // max(1, len(each)) for each in self.arrays.values()), default=0)

    @property
    def rows(self) -> int:
        """How many rows each column has."""
        columns: list[Sized] = [
            *self.arrays.values(),
            *self.encoded.values(),
            *self.texts.values(),
            *self.lists.values(),
        ]
        return len(columns[0])


def texts_of(value: object) -> tuple[str, ...]:
    """The texts that programs make of a value: Python, numpy, and ISO 8601 for a moment."""
    found = [str(value)]
    if isinstance(value, np.datetime64 | np.timedelta64):
        found.append(str(value.astype(f"{value.dtype.kind}8[us]").item()))
    elif isinstance(value, np.generic):
        found.append(str(value.item()))
    elif isinstance(value, datetime):
        found.append(value.isoformat())
    return sendable(*found)


def sendable(*texts: str) -> tuple[str, ...]:
    """Different texts in their order, those that no graph and no database takes as they are printed."""
    return tuple(dict.fromkeys(printable(text) if _UNSENDABLE.search(text) else text for text in texts))


def printable(text: str) -> str:
    """The text as a name can be stored: control characters and lone surrogates escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def written_values(values: Iterable[object], shape: Sequence[int], kind: FileType) -> Written:
    """Python values in C order, as many as `shape` [N, …] has."""
    places: dict[tuple[bool, str], int] = {}
    texts: list[tuple[str, ...]] = []
    codes = np.empty(shape, np.int32)
    flat = codes.reshape(-1)
    for i, value in enumerate(values):
        # `str` tells 1, 1.0 and True apart, which are equal; None is not the word.
        key = (value is None, str(value))
        place = places.setdefault(key, len(texts))
        if place == len(texts):
            texts.append(texts_of(value))
        flat[i] = place
    return Written(lambda: texts, codes, kind)


def written_array(array: Array, kind: FileType) -> Written:
    """An array of numpy [N, …]."""
    unique, inverse = np.unique(array, return_inverse=True)
    texts = cache(lambda: [texts_of(value) for value in unique])
    return Written(texts, inverse.reshape(array.shape).astype(np.int32), kind)


def flat_values(rows: Iterable[Any], size: int) -> Iterable[object]:
    """The values of rows, lists of lists or single values, in order; a row that is missing has `size` missing ones."""
    for row in rows:
        if isinstance(row, list):
            yield from flat_values(row, 1)
        else:
            yield from [row] * (size if row is None else 1)
