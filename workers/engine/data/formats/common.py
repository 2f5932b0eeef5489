"""What the readers of all formats share: bounds, refusals, rows of numbers and of words."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError

Array = NDArray[Any]
MOST_BYTES = 64 << 30
"""Most that a dataset may claim in memory; the sandbox bounds the rest."""
MOST_LINE_BYTES = 16 << 20
MOST_LETTERS = 256
"""Words are cut here, beyond any class name: numpy gives every row the room of the longest."""
NULL_WORDS = ("", "null", "NULL", "NaN", "nan", "NA")
"""A missing value in a text file."""


def refuse(message: str) -> UserError:
    """The error of a file that cannot be read."""
    return UserError("unreadable", message)


def no_row() -> UserError:
    """The error of a file without rows."""
    return UserError("empty_dataset", "the file has no row")


def require(wanted: set[str], have: list[str]) -> list[str]:
    """The wanted names, sorted. Raises UserError unless the file has each of them, and once."""
    missing = sorted(wanted - set(have))
    if missing:
        shown = ", ".join(f"`{name}`" for name in sorted(have)[:20])
        raise UserError("missing_column", f"the file has no {', '.join(f'`{n}`' for n in missing)}: it has {shown}")
    doubled = sorted(name for name, count in Counter(have).items() if count > 1 and name in wanted)
    if doubled:
        raise refuse(f"the file has {', '.join(f'`{name}`' for name in doubled)} more than once: which is meant?")
    return sorted(wanted)


def as_words(values: Iterable[str | None]) -> Array:
    """Text by row; "" where there is none."""
    return np.array([(value or "")[:MOST_LETTERS] for value in values], dtype=np.str_)


def stacked(name: str, rows: list[Any]) -> Array:
    """Rows of numbers as one array; None is NaN, a whole row of them where rows are lists.

    Raises UserError: `ragged`, `wrong_type`, `not_finite`.
    """
    try:
        shape = np.shape(next((row for row in rows if row is not None), np.nan))
        missing = np.full(shape, np.nan).tolist()
        found = np.array([missing if row is None else row for row in rows])
        if _holds_text(found):
            raise UserError("wrong_type", f"`{name}` holds text, expected numbers")
        return found.astype(np.float64)
    except OverflowError:
        raise UserError("not_finite", f"`{name}` holds a number that is too large for 64 bits") from None
    except (ValueError, TypeError):
        raise UserError("ragged", f"`{name}` needs numbers, as many in every row, found {_lengths(rows)}") from None


def _holds_text(found: Array) -> bool:
    return found.dtype.kind == "U" or (found.dtype.kind == "O" and any(isinstance(value, str) for value in found.flat))


def _lengths(rows: list[Any]) -> str:
    lengths = {len(row) if isinstance(row, list) else 1 for row in rows if row is not None}
    return f"rows of {', '.join(map(str, sorted(lengths)[:5]))}"


def check_lines(path: Path) -> None:
    """No line beyond the bound, no NUL: before a parser allocates for it."""
    longest = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if b"\0" in piece:
                raise refuse("the file has NUL bytes: it is no text")
            *lines, rest = piece.split(b"\n")
            longest = longest + len(piece) if not lines else len(rest)
            if longest > MOST_LINE_BYTES:
                raise refuse(f"a line is longer than {MOST_LINE_BYTES} bytes")
