"""The statements that a connection of PostgreSQL has prepared, by their texts."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MOST_PREPARED: Final = 256
"""Statements that stay prepared on a connection; beyond that, those used least recently are deallocated."""


@dataclass(eq=False)
class Prepared:
    """A statement that was sent to be prepared."""

    text: str
    name: bytes
    """Unique on the connection, also after statements were deallocated."""
    is_ready: bool = False
    """Whether the server has answered that it is prepared."""
    error: Exception | None = None
    """Why it could not be prepared."""


class PreparedStatements:
    """Of one connection. A statement can be used as soon as it was sent: the server takes everything in order. What
    could not be prepared is forgotten, so that its next use prepares it again.
    """

    def __init__(self) -> None:
        self._by_text: dict[str, Prepared] = {}  # the least recently used first
        self._numbers = itertools.count()

    def use(self, texts: Sequence[str]) -> tuple[list[Prepared], list[Prepared]]:
        """The statement of each text, and those of them that are new and must be prepared."""
        used, new = [], []
        for text in texts:
            found = self._by_text.pop(text, None)
            if found is None:
                found = Prepared(text, f"{next(self._numbers)} {text.partition(' ')[0]}".encode())
                new.append(found)
            self._by_text[text] = found
            used.append(found)
        return used, new

    def surplus(self, in_use: int) -> list[Prepared]:
        """Takes out the statements beyond MOST_PREPARED, to be deallocated; none of the `in_use` used last."""
        oldest = itertools.islice(self._by_text.values(), max(0, len(self._by_text) - max(MOST_PREPARED, in_use)))
        surplus = [each for each in oldest if each.is_ready]
        for each in surplus:
            del self._by_text[each.text]
        return surplus

    def settle(self, prepared: Prepared, error: Exception | None) -> None:
        """Note the server's answer: None, or why it could not prepare the statement."""
        prepared.is_ready, prepared.error = error is None, error
        if error is not None and self._by_text.get(prepared.text) is prepared:
            del self._by_text[prepared.text]
