"""Shared parts of the readers: bounds, errors, columns of numbers and of text."""

import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contracts.problems import UserError

Array = NDArray[Any]
MAX_BYTES = 64 << 30
"""Largest size in memory that a dataset may claim; the sandbox bounds the process."""
MAX_LINE_BYTES = 16 << 20
MAX_DEFLATE_RATIO = 1100
"""deflate cannot compress better than about 1030 : 1: a larger declared size is false."""
ZIP_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, NotImplementedError, ValueError)
"""What module zipfile raises for a damaged archive, NotImplementedError for an unknown compression."""
_SHOWN = 8
"""How many names of columns a message lists."""
MAX_CHARACTERS = 256
"""Text is truncated to this length, above that of any class name: numpy stores every row as wide as the longest."""
NULL_STRINGS = ("", "null", "NULL", "NaN", "nan", "NA", "N/A", "<NA>", "None")
"""Missing values in a text file."""


@dataclass(frozen=True)
class EncodedFiles:
    """Images or sounds as they stand in a dataset's file, encoded: one file for each of `count` rows.

    By its row, from several threads: `read` gives a file's bytes, `name` what an error calls it. `load` comes before
    the rows that are read, range after range, in their order: only those of the last call need be in memory.
    """

    count: int
    read: Callable[[int], bytes]
    name: Callable[[int], str]
    load: Callable[[range], None] = lambda rows: None

    def __len__(self) -> int:
        return self.count


def unreadable(message: str) -> UserError:
    """A UserError with code `unreadable`."""
    return UserError("unreadable", message)


def empty_file() -> UserError:
    """A UserError with code `empty_dataset`."""
    return UserError("empty_dataset", "the file has no row: expected one or more")


def no_texts(name: str, found: str) -> UserError:
    """A UserError with code `wrong_type` for a column that an input of texts names."""
    return UserError(
        "wrong_type", f"column `{name}` has {found}, expected texts: name a column of texts, or another `kind` of input"
    )


def no_lists(name: str, found: str) -> UserError:
    """A UserError with code `wrong_type` for a column that must have a list in each row."""
    return UserError(
        "wrong_type", f"column `{name}` has {found}, expected a list in each row: write lists in jsonl or parquet"
    )


def require_columns(required: set[str], available: list[str]) -> list[str]:
    """The required names, sorted. Raises UserError unless the file has each of them exactly once."""
    if not required <= set(available):
        raise missing_columns(required, available)
    duplicates = sorted(name for name, count in Counter(available).items() if count > 1 and name in required)
    if duplicates:
        raise unreadable(f"the file has {_shown(duplicates)} more than once: give every column its own name")
    return sorted(required)


class MissingColumns(UserError):
    """A file lacks columns, code `missing_column`. `available`: those that it has."""

    def __init__(self, message: str, available: Sequence[str]) -> None:
        super().__init__("missing_column", message)
        self.available = tuple(available)


def missing_columns(
    required: set[str], available: Sequence[str], way_out: str = "Call the columns in the manifest as the file does"
) -> MissingColumns:
    """A UserError with code `missing_column`: what the file has, what of the manifest it lacks, and the way out."""
    missing = sorted(required - set(available))
    counts = f"{len(available)} columns: " if len(available) > _SHOWN else ""
    lacks = f"lacks {len(missing)} that the manifest names: " if len(missing) > _SHOWN else "no "
    has = _shown(available) or "no column"
    return MissingColumns(f"the file has {counts}{has}, but {lacks}{_shown(missing)}: {way_out}", available)


def _shown(names: Sequence[str]) -> str:
    """The first few names, shortened, and the number of the others."""
    shown = ", ".join(f"`{name[:60]}`" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def as_strings(values: Iterable[str | None]) -> Array:
    """One string for each row; "" where it is missing."""
    return np.array([(value or "")[:MAX_CHARACTERS] for value in values], dtype=np.str_)


def as_float_array(name: str, rows: list[Any]) -> Array:
    """Rows of numbers as one float64 array; None becomes NaN, for rows that are lists a row of NaN.

    Raises UserError: `ragged`, `wrong_type`, `not_finite`.
    """
    try:
        shape = np.shape(next((row for row in rows if row is not None), np.nan))
        missing = np.full(shape, np.nan).tolist()
        values = np.array([missing if row is None else row for row in rows])
        if _has_text(values):
            detail = f"`{name}` holds text in lists, expected lists of numbers, or one text in each row"
            raise UserError("wrong_type", f"{detail}: write each text of a list in a column of its own")
        return values.astype(np.float64)
    except OverflowError:
        raise UserError(
            "not_finite", f"`{name}` holds a number that is too large for 64 bits: use larger units"
        ) from None
    except (ValueError, TypeError):
        raise UserError(
            "ragged", f"`{name}` needs numbers, equally many in every row, found {_lengths(rows)}: pad them"
        ) from None


def _has_text(values: Array) -> bool:
    if values.dtype.kind == "O":
        return any(isinstance(value, str) for value in values.flat)
    return values.dtype.kind == "U"


def _lengths(rows: list[Any]) -> str:
    lengths = {len(row) if isinstance(row, list) else 1 for row in rows if row is not None}
    return f"rows of {', '.join(map(str, sorted(lengths)[:5]))}"
