"""From bytes to a contract, and from pydantic's errors to problems with RFC 6901 pointers."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from app.contracts.problems import Problem
from app.errors import Invalid
from app.http import strict_json
from app.http.pointers import pointer

T = TypeVar("T")
_LONGEST_DETAIL = 600
_MOST_FAULTS = 200
_WRONG_TYPE = "wrong_type"
_SPEAKING = ("invalid_value", "weights_sum_to_zero", "duplicate_name")
"""Codes of our own validators, whose messages say all."""

_DISCRIMINATORS = ("kind", "family", "method")

CODES: Mapping[str, str] = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "finite_number": "not_finite",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "too_short": "too_short",
    "too_long": "too_long",
    "string_too_short": "too_short",
    "string_too_long": "too_long",
    "string_pattern_mismatch": "bad_format",
    "string_unicode": "bad_format",
    "literal_error": "unknown_value",
    "enum": "unknown_value",
    "union_tag_invalid": "unknown_value",
    "union_tag_not_found": "missing",
    "value_error": "invalid_value",
    "assertion_error": "invalid_value",
    "weights_sum_to_zero": "weights_sum_to_zero",
    "duplicate_name": "duplicate_name",
    "relation_form": "missing",
    "relation_candidate": "unknown_value",
}
"""pydantic's error types -> our stable codes; the others are all `wrong_type`."""

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def validate(adapter: TypeAdapter[T], data: bytes, *, parsed: Any) -> T:
    """The contract that a strictly parsed document holds; raises Invalid with one problem for each fault."""
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        raise Invalid(problems_of(error, parsed)) from None


def parse_as(adapter: TypeAdapter[T], data: bytes) -> T:
    """`strict_json.parse` and `validate` in one; raises BadRequest or Invalid."""
    return validate(adapter, data, parsed=strict_json.parse(data))


def problems_of(error: ValidationError, document: Any) -> list[Problem]:
    """One problem for each fault of `document`, the same place and code named once."""
    found: dict[tuple[str, str], Problem] = {}
    for fault in error.errors(include_url=False)[:_MOST_FAULTS]:
        place = placed(fault["loc"], document, ends_in_key=fault["type"] in ("missing", "extra_forbidden"))
        code = CODES.get(fault["type"], _WRONG_TYPE)
        problem = Problem(pointer=pointer(place), code=code, detail=_detail(fault, code))
        found.setdefault((problem.pointer, problem.code), problem)
    # A number out of range is no list either: of a union's complaints about one place the telling ones stay.
    told = {place for place, code in found if code != _WRONG_TYPE}
    kept = [problem for (place, code), problem in found.items() if code != _WRONG_TYPE or place not in told]
    # pydantic counts the good items of a list, so a bad one makes it too short as well.
    return [problem for problem in kept if not (problem.code == "too_short" and _has_faults_below(problem, kept))]


def _has_faults_below(problem: Problem, others: Sequence[Problem]) -> bool:
    return any(other.pointer.startswith(f"{problem.pointer}/") for other in others)


def placed(location: Sequence[str | int], document: Any, *, ends_in_key: bool) -> tuple[str | int, ...]:
    """The way to the fault in `document`: pydantic's location without the tags of unions and the names of
    validators that it mixes in. With `ends_in_key` the last step is a key, be it there or not.

    A tag can look like a key; it is one where it repeats what the object says of itself, and comes first there.
    """
    last: tuple[str | int, ...] = ()
    if ends_in_key and location:
        location, last = location[:-1], (location[-1],)
    place: list[str | int] = []
    value, tagged = document, False
    for step in location:
        if not tagged and isinstance(value, dict) and step in (value.get(name) for name in _DISCRIMINATORS):
            tagged = True
        elif _has(value, step):
            place.append(step)
            value, tagged = value[step], False
    return (*place, *last)


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _detail(fault: ErrorDetails, code: str) -> str:
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        return f"expected {context['discriminator']} to be one of {context['expected_tags']}, found another value"
    if fault["type"] == "union_tag_not_found":
        return f"expected an object with {fault['ctx']['discriminator']}, which says what it is"
    if fault["type"] == "extra_forbidden":
        return "no such field here: check its spelling and place, or leave it out"
    if fault["type"] == "missing":
        return "this field is needed"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if code in _SPEAKING:
        return message[:_LONGEST_DETAIL]
    return f"{message.replace('Input should be', 'expected')}, found {_found(fault['input'])}"[:_LONGEST_DETAIL]


def _found(value: Any) -> str:
    """What kind of thing stands there; never the thing itself, but for a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:.12g}" if isinstance(value, float) or abs(value) < 10**15 else "a huge integer"
        return f"{text} (a number)"
    if isinstance(value, str):
        return f"a string of {len(value)} characters"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return _KINDS.get(type(value), "something else")
