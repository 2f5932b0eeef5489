"""Text that is numbers, booleans or times of day, as a csv would have read it: the same in every format."""

import re

import numpy as np

from workers.engine.data.formats.common import NULL_STRINGS, Array

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d(?:\.\d+)?))?")
_BOOLEANS = {"true": 1.0, "false": 0.0}


def typed(array: Array) -> Array:
    """float64 where every text is a number, `true` or `false`, or a time of day (in seconds), NaN where it is missing;
    the array itself where one is none of these, or all are missing.
    """
    if array.dtype.kind != "U":
        return array
    unique, inverse = np.unique(array, return_inverse=True)
    texts = [text.strip() for text in unique.tolist()]
    known = [text for text in texts if text not in NULL_STRINGS]
    for read in (number_of, boolean_of, time_of):
        found = {text: read(text) for text in known}
        if known and all(value is not None for value in found.values()):
            numbers = np.array([np.nan if (value := found.get(text)) is None else value for text in texts])
            return numbers[inverse].reshape(array.shape)
    return array


def number_of(text: str) -> float | None:
    """A decimal number as text; None for other text, such as `infinity` or `1_000`."""
    return float(text) if _NUMBER.fullmatch(text) else None


def boolean_of(text: str) -> float | None:
    """1 or 0 for `true` or `false` in any case; None for other text."""
    return _BOOLEANS.get(text.lower())


def time_of(text: str) -> float | None:
    """Seconds of a time of day such as `12:30`; None for other text."""
    parts = _TIME.fullmatch(text)
    return None if parts is None else int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3] or 0)
