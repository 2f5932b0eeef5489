"""JSON as a careful server reads it: bounded, without NaN, doubled keys, lone surrogates or endless nesting.

The standard parser accepts all of those, and some of them break whoever writes them out again.
"""

import json
import math
import re
from typing import Any, NoReturn

from app.errors import BadRequest

MOST_BYTES = 1 << 20
MOST_DEPTH = 64
_MOST_DIGITS = 400

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(data: bytes) -> Any:
    """The value of a JSON document; raises BadRequest, which never repeats the input."""
    text = _text(data)
    _refuse_depth(data)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
        )
    except json.JSONDecodeError as error:
        raise BadRequest(
            "invalid_json", f"the body is no JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
        ) from None
    if _ESCAPED_SURROGATE.search(data):
        _refuse_surrogates(value)
    return value


def _text(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise BadRequest("invalid_json", "the body begins with a byte order mark: send plain UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("invalid_json", f"the body is not UTF-8: byte {error.start} cannot be read") from None


def _refuse_depth(data: bytes) -> None:
    """Depth is bounded before parsing, which recurses."""
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub(b"", data)):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MOST_DEPTH:
            raise BadRequest("too_deep", f"the body is nested deeper than {MOST_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("duplicate_key", "an object of the body names a key twice: which one counts is anyone's guess")
    return found


def _constant(name: str) -> NoReturn:
    raise BadRequest("not_finite", "NaN and Infinity are no JSON: leave the field out, or use null")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadRequest("not_finite", "a number of the body is too large for a 64-bit float")
    return value


def _int(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise BadRequest("not_finite", f"a number of the body has more than {_MOST_DIGITS} digits")
    return int(text)


def _refuse_surrogates(value: Any) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BadRequest("lone_surrogate", "a string of the body holds half of a surrogate pair: no valid Unicode")
    elif isinstance(value, list):
        for item in value:
            _refuse_surrogates(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_surrogates(key)
            _refuse_surrogates(item)
