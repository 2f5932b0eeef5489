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
    for read in (_number, _boolean, _time):
        found = {text: read(text) for text in known}
        if known and all(value is not None for value in found.values()):
            numbers = np.array([np.nan if (value := found.get(text)) is None else value for text in texts])
            return numbers[inverse].reshape(array.shape)
    return array


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _boolean(text: str) -> float | None:
    return _BOOLEANS.get(text.lower())


def _time(text: str) -> float | None:
    parts = _TIME.fullmatch(text)
    return None if parts is None else int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3] or 0)
