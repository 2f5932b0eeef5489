"""Values of a file as text and as numbers: the same value has the same text in every format.

An integer that became 1.0 (beside a missing value, or by the program that wrote the file) is `1`, a boolean `true` or
`false`, a missing value the empty text.
"""

import re
from collections.abc import Iterable, Sequence, Set
from datetime import UTC, datetime, time
from decimal import Decimal
from math import isfinite

import numpy as np

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetFormat
from workers.engine.data.formats.common import NULL_STRINGS, Array

BOOLEANS = {"true": "1", "false": "0"}
_DECIMALS = re.compile(r"(-?(?:0|[1-9]\d*))\.(\d*)")
_WHOLE = re.compile(r"0|-?[1-9]\d*")
_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)?(?:\.\d*)?(?:[eE][-+]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
_DECIMAL_COMMA = re.compile(r"[-+]?\d{1,3}(\.\d{3})*,\d+|[-+]?\d+,\d+")
_FEW = 3
_LONGEST = 200
"""Longest text that is looked at as a number or a moment: that of a category."""
_FINER = re.compile(r"\.\d{6}\d*[1-9]")


def canonical(text: str) -> str:
    """The one spelling of a value: ` 1.0` is `1`, `0.50` is `0.5`, `True` is `true`; leading zeros (`01`) stay."""
    text = text.strip()
    if text.lower() in BOOLEANS:
        return text.lower()
    decimals = _DECIMALS.fullmatch(text)
    if decimals is None:
        return text
    whole, part = decimals[1], decimals[2].rstrip("0")
    return f"{whole}.{part}" if part else "0" if whole == "-0" else whole


def spellings(text: str) -> list[str]:
    """The usual ways to write a value, of which `canonical` makes one: as it is, with a space in front as in a csv, a
    whole number with decimals of zero, a boolean with a capital letter.
    """
    plain = canonical(text)
    found = [text, plain]
    if plain in BOOLEANS:
        found += [plain.capitalize(), plain.upper()]
    elif _WHOLE.fullmatch(plain):
        found += [f"{plain}.", f"{plain}.0", f"{plain}.00"]
    elif _DECIMALS.fullmatch(plain):
        found += [f"{plain}0", f"{plain}00"]
    return [*found, *(f" {each}" for each in found)]


def other_spellings(text: str) -> list[str]:
    """How Python, numpy and data frames write the number or the moment that a text is, where `canonical` does not make
    the text of it: `1e+16`, a float32 as 0.1, `2024-01-31T00:00:00`. Empty for other texts.
    """
    plain = canonical(text)
    if len(plain) > _LONGEST:
        return []
    found = _moments(plain) if _DATE.fullmatch(plain) else _numbers(plain)
    return [each for each in dict.fromkeys(found) if each != plain]


def _numbers(text: str) -> list[str]:
    """A number as a float and, if it is whole, as an integer; leading zeros make a name of it."""
    number = _float(text) if _NUMBER.fullmatch(text) else None
    if number is None or Decimal(text) not in (Decimal(number), Decimal(str(number))):
        return []
    whole = [str(int(number)), "-0", "-0.0"] if number == 0 else [str(int(number))] if number.is_integer() else []
    return [str(number), *whole, *_as_float32(number)]


def _as_float32(number: float) -> list[str]:
    """What numpy makes of a float32 that is this number, and of the number as it is."""
    with np.errstate(over="ignore"):
        narrow = np.float32(number)
    return [str(narrow)] if float(narrow) == number else []


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:  # neither digits in front of the point nor behind it
        return None
    return number if isfinite(number) else None


def _moments(text: str) -> list[str]:
    """A date or time stamp as Python writes it, with a space and with `T`; a midnight also as a date."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return []
    if _FINER.search(text):  # which Python's moments drop
        return []
    midnight = moment.tzinfo is None and moment.time() == time.min
    dates = [str(moment.date())] if midnight else []
    return [str(moment), moment.isoformat(), *dates]


def label_text(value: object) -> str:
    """A value of an array (`array.tolist()`) as text, exactly as written where it is text; NaN is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else str(value)
    return str(value)


def in_order(texts: Iterable[str]) -> list[str]:
    """Sorted: by size where all are numbers, else by their characters."""
    try:
        return sorted(texts, key=lambda text: (float(text), text))
    except ValueError:
        return sorted(texts)


def is_missing(text: str, nulls: Set[str] = frozenset(NULL_STRINGS)) -> bool:
    """Whether a text means a missing value."""
    return text.strip() in nulls


def nulls_of(kind: DatasetFormat) -> Set[str]:
    """The texts that mean a missing value in a column of any text. Formats with a null of their own need no word for
    it: there `NA` may be a country.
    """
    return frozenset(NULL_STRINGS if kind == "csv" else ("",))


def as_numbers(name: str, columns: Sequence[str], arrays: Sequence[Array], kind: str) -> list[Array]:
    """Columns of numbers; dates and timestamps as text (ISO 8601) become seconds since 1970-01-01 UTC, float64.
    `kind` is that of an input or target which holds names.

    Raises UserError `wrong_type`, which names the column, the row and the way out.
    """
    return [
        _seconds(name, column, array, kind) if array.dtype.kind == "U" else array
        for column, array in zip(columns, arrays, strict=True)
    ]


def _seconds(name: str, column: str, array: Array, kind: str) -> Array:
    texts = [text.strip() for text in array.ravel().tolist()]
    if not all(_DATE.fullmatch(text) or is_missing(text) for text in texts) or all(map(is_missing, texts)):
        raise _holds_text(name, column, array, texts, kind)
    try:
        return np.array([np.nan if is_missing(text) else _second(text) for text in texts]).reshape(array.shape)
    except ValueError:
        raise _holds_text(name, column, array, texts, kind) from None


def moment_seconds(text: str) -> float | None:
    """A date or time stamp (ISO 8601) as `as_numbers` reads it, in seconds since 1970-01-01 UTC; None for others."""
    try:
        return _second(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None


def _second(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _holds_text(name: str, column: str, array: Array, texts: list[str], kind: str) -> UserError:
    """What the column has where numbers are expected, and the way out."""
    words = [i for i, text in enumerate(texts) if not is_missing(text) and not _is_number(text)]
    place = words[0] if words else 0
    row = place // max(1, len(texts) // len(array))
    return UserError(
        "wrong_type",
        f"`{name}` holds text, expected numbers: the column `{column}` is `{texts[place][:60]}` at row {row}. "
        f"{_way_out(texts, [texts[i] for i in words], kind)}",
        row,
    )


def _way_out(texts: list[str], words: list[str], kind: str) -> str:
    distinct = list(dict.fromkeys(words))
    if not distinct:
        return (
            "Save numbers instead of text, such as `array.astype(float)`; in a csv whose decimal point is a comma, "
            "write `1234` instead of `1.234`"
        )
    if all(map(_DECIMAL_COMMA.fullmatch, distinct)):
        return (
            'If the comma is a decimal point, the manifest of the csv needs `"csv": {"decimal": ","}`, and the numbers '
            "no separators of thousands"
        )
    category = f'if it holds names, read it by `"kind": "{kind}"`'
    if len(distinct) > _FEW or len(words) == len(texts):
        return f"{category[0].upper()}{category[1:]}, or leave the column out"
    return f"If {_quoted(distinct)} means a missing value, {_null_values(distinct)}; {category}"


def _quoted(values: Iterable[str]) -> str:
    return " or ".join(f"`{value[:60]}`" for value in values)


def _null_values(values: Iterable[str]) -> str:
    listed = ", ".join(f'"{value[:60]}"' for value in values)
    return f'add `"csv": {{"null_values": [{listed}]}}` to the manifest of a csv, or write null'
