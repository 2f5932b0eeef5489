"""Validation of bodies, with pydantic's errors as problems with RFC 6901 pointers, and of query parameters."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from app.contracts.base import NAME_FORM, NAME_PATTERN
from app.contracts.problems import Problem
from app.contracts.resources.inputs.arrays import ArrayInput
from app.contracts.specs.training import TrainingSpec
from app.db.base import json_text
from app.http import strict_json
from app.http.errors import BadRequest, Invalid

T = TypeVar("T")
_LONGEST_DETAIL = 600
_LONGEST_NAME = 80
_MOST_ERRORS = 200
_LARGEST_WHOLE = 2**53
"""Above it a float stands for several whole numbers."""
_NO_OBJECT = ("model_type", "model_attributes_type", "dict_type")
"""pydantic's error types where an object is expected."""
WRONG_TYPE = "wrong_type"
SPEAKING = ("invalid_value", "weights_sum_to_zero", "duplicate_name", "dataset_required", "needs_no_dataset")
"""Codes of our own validators, whose messages are complete."""

_OF_KEYS = ("missing", "extra_forbidden", "dataset_required")
"""Types of errors about a key that the document may not have."""
_LENGTHS = ("too_short", "too_long", "string_too_short", "string_too_long")
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
    "dataset_required": "dataset_required",
    "needs_no_dataset": "needs_no_dataset",
}
"""pydantic's error types -> our stable codes; the others are all `wrong_type`."""

_ID_KINDS: Mapping[str, str] = {"mdl_": "model", "ds_": "dataset", "job_": "job"}
_NOUNS: Mapping[str, str] = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "a number",
}
"""What pydantic's types of errors expected, in words."""
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


def validate(adapter: TypeAdapter[T], data: bytes, *, parsed: Any) -> T:
    """Validate a document that `strict_json` has parsed; raises Invalid with one problem for each error.

    To JSON Schema, and to JavaScript, `3.0` is an integer. Contracts are strict, so a document with such numbers is
    validated once more, with integers in their place.
    """
    try:
        return adapter.validate_json(data)
    except ValidationError as error:
        whole = _with_whole_numbers(parsed)
        if json_text(whole) == json_text(parsed):
            raise Invalid(problems_of(error, parsed)) from None
    try:
        return adapter.validate_json(json_text(whole))
    except ValidationError as error:
        raise Invalid(problems_of(error, whole)) from None


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_WHOLE:
        return int(value)
    if isinstance(value, list):
        return [_with_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_whole_numbers(item) for key, item in value.items()}
    return value


def parse_as(adapter: TypeAdapter[T], data: bytes) -> T:
    """Parse strictly and validate; raises BadRequest or Invalid."""
    return validate(adapter, data, parsed=strict_json.parse(data))


def problems_of(error: ValidationError, document: Any) -> list[Problem]:
    """One problem for each error in `document`; the same place and code are reported once."""
    found: dict[tuple[str, str], Problem] = {}
    by_place: dict[str, list[ErrorDetails]] = {}
    for item in error.errors(include_url=False)[:_MOST_ERRORS]:
        place = placed(item["loc"], document, ends_in_key=item["type"] in _OF_KEYS)
        code = CODES.get(item["type"], WRONG_TYPE)
        problem = Problem(pointer=strict_json.json_pointer(place), code=code, detail=_detail(item, code, document))
        found.setdefault((problem.pointer, problem.code), problem)
        by_place.setdefault(problem.pointer, []).append(item)
    # Of several errors that a union reports at one place, wrong types are the least informative: drop them.
    specific = {place for place, code in found if code != WRONG_TYPE}
    kept = [problem for (place, code), problem in found.items() if code != WRONG_TYPE or place not in specific]
    kept = [_of_all_members(problem, by_place[problem.pointer]) for problem in kept]
    return [problem for problem in kept if not _follows_from_others(problem, kept)]


def _of_all_members(problem: Problem, items: Sequence[ErrorDetails]) -> Problem:
    """The problem with what every member of a union expects, where one of them is a list of words."""
    if problem.code != "unknown_value" or not any(item["type"] == "literal_error" for item in items):
        return problem
    expected = dict.fromkeys(
        item["ctx"]["expected"] if item["type"] == "literal_error" else _NOUNS[item["type"]]
        for item in items
        if item["type"] == "literal_error" or item["type"] in _NOUNS
    )
    detail = f"expected {', or '.join(expected)}, found {_described(items[0]['input'])}"
    return problem.model_copy(update={"detail": detail[:_LONGEST_DETAIL]})


def _follows_from_others(problem: Problem, others: Sequence[Problem]) -> bool:
    """Pydantic counts the valid items of a list, so an invalid one also makes the list too short; and a list is none of
    the words that a union takes beside lists.
    """
    if problem.code not in ("too_short", "unknown_value"):
        return False
    below = any(other.pointer.startswith(f"{problem.pointer}/") for other in others)
    beside = any(other.pointer == problem.pointer and other is not problem for other in others)
    return below or (problem.code == "too_short" and beside)


def placed(location: Sequence[str | int], document: Any, *, ends_in_key: bool) -> tuple[str | int, ...]:
    """The path to the error in `document`: pydantic's location without the union tags and validator names in it.

    With `ends_in_key` the last step is a key, even if `document` does not have it. A step that could be a key or a tag
    is a tag if it equals the object's discriminator and is the first such step there.
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


def _detail(item: ErrorDetails, code: str, document: Any) -> str:
    if item["type"] == "union_tag_invalid":
        context = item["ctx"]
        return f"expected {context['discriminator']} to be one of {context['expected_tags']}, found another value"
    if item["type"] == "union_tag_not_found":
        return f"expected an object with {item['ctx']['discriminator']}, which says what it is"
    if item["type"] == "extra_forbidden":
        return _place_hint(str(item["loc"][-1]))
    if item["type"] == "missing":
        return "this field is needed"
    hint = _text_hint(item, document) if isinstance(item["input"], str) else None
    if hint is not None:
        return hint
    if item["type"] in _LENGTHS:
        return _length_hint(item)
    message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if code in SPEAKING:
        return message[:_LONGEST_DETAIL]
    return f"{message.replace('Input should be', 'expected')}, found {_described(item['input'])}"[:_LONGEST_DETAIL]


def _length_hint(item: ErrorDetails) -> str:
    """The detail of a list, an object or a text that is too short or too long."""
    what, least = ("characters" if item["type"].startswith("string") else "items"), "min_length" in item["ctx"]
    bound = f"{item['ctx']['min_length']} or more {what}" if least else f"{item['ctx']['max_length']} {what} at most"
    found = len(item["input"]) if isinstance(item["input"], list | tuple | dict | str) else item["ctx"]["actual_length"]
    way_out = "add some" if least else "leave some out"
    if found == 0 and item["loc"]:
        way_out += f", or leave `{item['loc'][-1]}` out where it may be left out"
    return f"expected {bound}, found {found}: {way_out}"


def _place_hint(name: str) -> str:
    """What to do about a field that is not known here: some are often written one level too high."""
    inputs, training = set(ArrayInput.model_fields), set(TrainingSpec.model_fields)
    for place, fields in (("`training`", training), ("an input of a dataset (`inputs.<name>`)", inputs)):
        if name in fields:
            return f"no such field here: `{name}` is a field of {place}, move it there"
    return "no such field here: check its spelling and place, or leave it out"


def _text_hint(item: ErrorDetails, document: Any) -> str | None:
    """The detail of an error in an id or a name; None for other texts."""
    if item["type"] in _NO_OBJECT:
        return _object_hint(item["input"])
    if item["type"] != "string_pattern_mismatch":
        return None
    if item["ctx"]["pattern"] == NAME_PATTERN:
        return f"expected {NAME_FORM}, found other characters or too many: {_name_way_out(item, document)}"
    return _id_hint(item["input"], item["ctx"]["pattern"])


def _name_way_out(item: ErrorDetails, document: Any) -> str:
    """What to do about a name; those of a graph stay as they are in `rename`."""
    location = item["loc"]
    is_graph = isinstance(document, dict) and document.get("format") == "onnx"
    if not is_graph or location[0] not in ("inputs", "outputs") or len(location) < 2:
        return "write `_` for them"
    name = json.dumps(item["input"][:_LONGEST_NAME], ensure_ascii=False)
    return f'write `_` for them, or a name of your own here and `"rename": {{{name}: "<that name>"}}`'


def _object_hint(value: str) -> str | None:
    """The detail of an id where an object is expected that has it in a field; None for any other text."""
    found = next((prefix for prefix in _ID_KINDS if value.startswith(prefix)), None)
    if found is None:
        return None
    return f'expected an object, found the id of a {_ID_KINDS[found]}: write {{"{_ID_KINDS[found]}": "{found}…"}}'


def _id_hint(value: str, pattern: str) -> str | None:
    """The detail of an error in an id: other kinds of ids have other places; None where no id is expected."""
    expected = next((prefix for prefix in _ID_KINDS if pattern.startswith(f"^{prefix}")), None)
    if expected is None:
        return None
    noun = _ID_KINDS[expected]
    wanted = f"expected the id of a {noun}, `{expected}` and a UUIDv7"
    found = next((prefix for prefix in _ID_KINDS if value.startswith(prefix)), None)
    if found is None:
        return f"{wanted}, found a string of {len(value)} characters: `GET /v1/{noun}s` lists them"
    if found == expected:
        return f"{wanted}, found `{found}` and {len(value) - len(found)} characters: give the id in full"
    other = _ID_KINDS[found]
    if {noun, other} == {"model", "job"}:
        return f'{wanted}, but `{found}…` is a {other}: as a teacher, write {{"{other}": "{found}…"}}'
    return f"{wanted}, but `{found}…` is a {other}: `GET /v1/{noun}s` lists {noun}s"


def _described(value: Any) -> str:
    """The type of the value; the value itself only if it is a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = f"{value:.12g}" if isinstance(value, float) or abs(value) < 10**15 else "a huge integer"
        return f"{text} (a number)"
    if isinstance(value, str):
        return f"a string of {len(value)} characters"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return _KINDS.get(type(value), "something else")


def _query_values(request: Request) -> list[str]:
    return [value for _, value in request.query_params.multi_items()]


_REPEATABLE = frozenset({"id", "label", "series", "type"})
"""Query parameters that may occur several times."""


def check_url(request: Request) -> None:
    """Raises BadRequest for unknown parameters (a misspelt `?dryrun=true` must not submit a job), and for the character
    NUL in the path or the query, which go to statements: PostgreSQL has no text with it.
    """
    if any("\0" in text for text in (request.scope["path"], *request.query_params, *_query_values(request))):
        raise BadRequest(
            "invalid_parameter",
            "expected text without the character NUL (`%00`) in the path and the query, found one: leave it out",
        )
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = {field.alias for field in route.dependant.query_params}
    if not known.issuperset(request.query_params):
        names = ", ".join(f"`{name}`" for name in sorted(known)) or "none"
        raise BadRequest("unknown_parameter", f"unknown query parameter: this path accepts {names}")
    given = [name for name, _ in request.query_params.multi_items() if name not in _REPEATABLE]
    if len(set(given)) != len(given):
        raise BadRequest("doubled_parameter", "the query has a parameter twice: send it once")
