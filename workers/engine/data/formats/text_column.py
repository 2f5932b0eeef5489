"""Columns of texts, and of lists, as they stand in a file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError
from workers.engine.common.progress import moved

BLOCK_ROWS = 4096
"""Texts that are Python objects at a time."""


@dataclass(frozen=True)
class TextColumn:
    """One text for each of `count` rows; `read` gives those of a range, None where one is missing."""

    count: int
    read: Callable[[range], Sequence[str | None]]

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, texts: Sequence[str | None]) -> "TextColumn":
        """Of texts in memory."""
        return cls(len(texts), lambda rows: texts[rows.start : rows.stop])

    def taken(self, rows: NDArray[np.int64]) -> "TextColumn":
        """The texts of these rows, in their order."""
        texts = self.read(range(self.count))
        return TextColumn.of([texts[row] for row in rows.tolist()])

    def at(self, row: int) -> str:
        """The text of one row; empty where it is missing."""
        return self.read(range(row, row + 1))[0] or ""


@dataclass(frozen=True)
class ListColumn:
    """One list for each of `count` rows, of any lengths; `read` gives those of a range, None where one is missing."""

    count: int
    read: Callable[[range], Sequence[list[Any] | None]]

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, lists: Sequence[list[Any] | None]) -> "ListColumn":
        """Of lists in memory."""
        return cls(len(lists), lambda rows: lists[rows.start : rows.stop])

    def blocks(self) -> Iterator[tuple[int, Sequence[list[Any] | None]]]:
        """(the first row, the lists) of all rows, block by block."""
        for first in range(0, self.count, BLOCK_ROWS):
            yield first, self.read(range(first, min(first + BLOCK_ROWS, self.count)))


def blocks_of(columns: Sequence[TextColumn]) -> Iterator[list[tuple[str, ...]]]:
    """The texts of all rows, one or two each, block by block; a missing text is empty."""
    count = len(columns[0])
    for first in range(0, count, BLOCK_ROWS):
        moved()
        rows = range(first, min(first + BLOCK_ROWS, count))
        parts = [[text or "" for text in column.read(rows)] for column in columns]
        for part in parts:
            _check_characters(part, first)
        yield list(zip(*parts, strict=True))


def _check_characters(texts: Sequence[str], first: int) -> None:
    """Raises UserError `wrong_type` for a text that no UTF-8 can write. `first`: the row of the first one."""
    if is_unicode("".join(texts)):
        return
    row = first + next(i for i, text in enumerate(texts) if not is_unicode(text))
    detail = f"the text at row {row} has half of a character (a lone surrogate): write it as UTF-8"
    raise UserError("wrong_type", detail, row)


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can write a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
