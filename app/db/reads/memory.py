"""What rows of equal values became: most rows of a list have not changed since it was read before."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

from app.db.urls import Dialect

Row = TypeVar("Row")

MOST_ROWS: Final = 4096
MOST_CHARACTERS: Final = 1 << 22
"""Rows, and characters of their texts, that are kept; beyond either the memory is emptied."""
LONGEST_ROW: Final = 8192
"""Characters of the texts of a row; a longer one is not kept."""


class RowMemory(Generic[Row]):
    """For queries of the same columns, whose rows `make` makes. It is pure: of equal values, as the driver returns
    them, it makes equal rows, so that each is made once. Those values are hashable.
    """

    def __init__(self, make: Callable[[Sequence[Any]], Row]) -> None:
        self.make = make
        self._known: dict[Dialect, dict[Sequence[Any], Row]] = defaultdict(dict)
        self._rows = 0
        self._characters = 0

    def rows(self, dialect: Dialect, found: Iterable[Sequence[Any]], make: Callable[[Sequence[Any]], Row]) -> list[Row]:
        """The rows of what the driver returned; `make` makes those that are not known."""
        known = self._known[dialect]
        get = known.get
        return [row if (row := get(each)) is not None else self._kept(known, each, make(each)) for each in found]

    def _kept(self, known: dict[Sequence[Any], Row], values: Sequence[Any], row: Row) -> Row:
        characters = sum(len(each) for each in values if isinstance(each, str))
        if characters > LONGEST_ROW:
            return row
        if self._rows >= MOST_ROWS or self._characters + characters > MOST_CHARACTERS:
            for each in self._known.values():
                each.clear()
            self._rows = self._characters = 0
        known[values] = row
        self._rows += 1
        self._characters += characters
        return row
