"""Strict JSON parsing: bounded size and depth, no NaN, no duplicate keys, no lone surrogates.

The standard parser accepts all of these, and some of them cannot be serialised again. A body that is not JSON is a
BadRequest. A number that is not finite is an Invalid with a JSON pointer: Python's own `json.dumps` writes NaN.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from app.contracts.problems import Problem
from app.http.errors import MOST_PROBLEMS, BadRequest, Invalid

MOST_BYTES = 1 << 20
MOST_DEPTH = 64
_MOST_DIGITS = 400
_LONGEST_TOKEN = 128

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(data: bytes, document: str = "the body") -> Any:
    """The value of a JSON document, which errors call `document`.

    Raises BadRequest, or Invalid, whose details never contain the input.
    """
    try:
        return _parsed(data)
    except BadRequest as error:
        raise BadRequest(error.code, error.detail.replace("the body", document)) from None


def _parsed(data: bytes) -> Any:
    text = _text(data)
    _refuse_depth(data)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_int)
    except json.JSONDecodeError as error:
        raise BadRequest(
            "invalid_json",
            f"the body is no JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}. "
            "Names and strings need double quotes, and nothing may follow the last bracket",
        ) from None
    if _ESCAPED_SURROGATE.search(data):
        _refuse_surrogates(value)
    _refuse_non_finite(value)
    return value


def json_pointer(place: Sequence[str | int]) -> str:
    """An RFC 6901 pointer. It ends above a key that is too long to be shown."""
    tokens = []
    for token in place:
        text = str(token)
        if len(text) > _LONGEST_TOKEN:
            break
        tokens.append("/" + text.replace("~", "~0").replace("/", "~1"))
    return "".join(tokens)


def _text(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        raise BadRequest("invalid_json", "the body begins with a byte order mark: send plain UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(
            "invalid_json", f"the body is not UTF-8: byte {error.start} cannot be read; save it as UTF-8"
        ) from None


def _refuse_depth(data: bytes) -> None:
    """Check the depth before parsing, which recurses."""
    depth = 0
    for bracket in _BRACKETS.finditer(_STRINGS.sub(b"", data)):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth > MOST_DEPTH:
            raise BadRequest(
                "too_deep", f"the body is nested deeper than {MOST_DEPTH} levels: expected fewer, check its brackets"
            )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest(
            "duplicate_key", "expected every key of an object once, found a key of the body twice: remove one of them"
        )
    return found


def _int(text: str) -> int | float:
    """Python refuses integers of thousands of digits because parsing them is slow: treat them as infinite."""
    return int(text) if len(text) <= _MOST_DIGITS else math.inf


def _refuse_non_finite(value: Any) -> None:
    places = islice(_non_finite(value, ()), MOST_PROBLEMS)
    detail = "expected a finite number, found NaN, Infinity or one beyond 64 bits: leave the field out, or use null"
    problems = [Problem(pointer=json_pointer(place), code="not_finite", detail=detail) for place in places]
    if problems:
        raise Invalid(problems, "not_finite")


def _non_finite(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield place
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _non_finite(item, (*place, i))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _non_finite(item, (*place, key))


def _refuse_surrogates(value: Any) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BadRequest(
                "lone_surrogate",
                "a string of the body holds half of a surrogate pair, no valid Unicode: write the whole character",
            )
    elif isinstance(value, list):
        for item in value:
            _refuse_surrogates(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_surrogates(key)
            _refuse_surrogates(item)
