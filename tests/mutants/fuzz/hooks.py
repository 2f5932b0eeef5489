"""What schemathesis loads: calls that reach what the service holds, and checks of every answer.

Its own checks compare an answer with the document; those here know more of this service: what a problem says, and with
which codes it may refuse a call that fits the document.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

import schemathesis
from jsonschema import Draft202012Validator
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response
from schemathesis.core import NotSet
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation

from app.http.validation import CODES, SPEAKING, WRONG_TYPE
from tests.architecture.errors.catalogue import CATALOGUE

KNOWN_IDS: Final = "STILLHOUSE_FUZZ_IDS"
"""Environment variable: as JSON, the ids by the first letters that each kind of id has."""
AnyCase = Case[Any]
_LONGEST_WAIT: Final = 0.1
_ID: Final = re.compile(r"(mdl|ds|job)_[0-9a-f-]{36}")
_PREFIXES: Final = {"model_id": "mdl", "dataset_id": "ds", "job_id": "job"}
_KNOWN: Final[Mapping[str, list[str]]] = json.loads(os.environ.get(KNOWN_IDS, "{}"))

_BEYOND_A_SCHEMA: Final = frozenset({"invalid_cursor", *SPEAKING})
"""Codes for malformed requests that no schema can describe: a cursor is what an answer contained, and validators
compare fields with each other.
"""
_DELETED: Final[set[str]] = set()
MALFORMED: Final = frozenset({WRONG_TYPE, *CODES.values()}) - _BEYOND_A_SCHEMA


def _known(prefix: str, generated: str) -> str:
    """An id of what the service holds in place of the generated one, mostly; which, follows from that one."""
    ids = _KNOWN.get(prefix, [])
    place = crc32(generated.encode("utf-8", "replace")) % (len(ids) + 1)
    return ids[place] if place < len(ids) else generated


def _with_known_ids(value: Any) -> Any:
    if isinstance(value, str):
        found = _ID.fullmatch(value)
        return value if found is None else _known(found[1], value)
    if isinstance(value, list):
        return [_with_known_ids(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_known_ids(item) for key, item in value.items()}
    return value


@schemathesis.hook
def before_call(context: HookContext, case: AnyCase, kwargs: dict[str, Any]) -> None:
    """Ids of what exists, so that a call comes further than 404; nothing of it is deleted. No call waits for long."""
    if case.method != "DELETE":
        for name, value in case.path_parameters.items():
            case.path_parameters[name] = _known(_PREFIXES.get(name, ""), str(value))
        case.body = _with_known_ids(case.body)
    if isinstance(wait := case.query.get("wait"), int | float) and wait > _LONGEST_WAIT:
        case.query["wait"] = _LONGEST_WAIT


class _Fault(Failure):
    """Shown once for each title of an operation."""

    @property
    def _unique_key(self) -> str:
        return self.title


@schemathesis.hook
def after_call(context: HookContext, case: AnyCase, response: Response) -> None:
    """Which resources the run has deleted: two POSTs with one Idempotency-Key name the same one, and a scenario knows
    only of the deletion of its own.
    """
    if case.method == "DELETE" and response.status_code == 204:
        _DELETED.update(map(str, (case.path_parameters or {}).values()))


def _failure(case: AnyCase, title: str, message: str) -> Failure:
    return _Fault(operation=case.operation.label, title=title, message=message)


@schemathesis.check
def problems_have_our_shape(context: CheckContext, response: Response, case: AnyCase) -> None:
    """An error is a problem document with a code of the catalogue, and every answer has an id."""
    identity = response.headers.get("x-request-id", [""])[0]
    if not identity.startswith("req_"):
        raise _failure(case, "no request id", "expected the header X-Request-Id, found none")
    if response.status_code < 400 or case.method == "HEAD":
        return
    if response.headers.get("content-type") != ["application/problem+json"]:
        raise _failure(case, "no problem document", f"found {response.headers.get('content-type')}")
    document = json.loads(response.content)
    code = document["code"]
    expected = {"type": f"urn:stillhouse:problem:{code}", "status": response.status_code}
    wrong = [name for name, value in expected.items() if document[name] != value]
    if wrong or not document["instance"].endswith(f"#{identity}"):
        raise _failure(case, "another problem document", f"wrong: {wrong or 'instance'}")
    unknown = {code, *(each["code"] for each in document.get("errors", ()))} - set(CATALOGUE)
    if unknown:
        raise _failure(case, f"codes {sorted(unknown)}", "expected codes of tests/architecture/errors/catalogue.py")


@schemathesis.check
def the_document_is_no_wider(context: CheckContext, response: Response, case: AnyCase) -> None:
    """A call that fits the document may be refused for what is stored or for what it says, not for its form."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE or response.status_code < 400:
        return
    document = json.loads(response.content)
    # Whether changes of a stored document are complete follows from what is stored.
    errors = () if case.method == "PATCH" else document.get("errors", ())
    # Fields are compared where each has its form. So errors beside that are of the other members of a union.
    compared = [each["pointer"] for each in errors if each["code"] in _BEYOND_A_SCHEMA]
    found = [
        (each["code"], each["pointer"])
        for each in errors
        if each["code"] in MALFORMED and not any(f"{each['pointer']}/".startswith(f"{place}/") for place in compared)
    ]
    if response.status_code in (400, 415) and document["code"] not in _BEYOND_A_SCHEMA:
        found.append((document["code"], ""))
    for code, pointer in found:
        place = re.sub(r"/[^/]*[0-9][^/]*", "/*", pointer)
        raise _failure(case, f"{code} at {place}", f"the document allows this: {document['detail']}")


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: AnyCase, response: Response) -> bool:
    """Whether a failure of schemathesis' own checks is one: not where it takes a call for malformed that fits the
    document, nor where it takes a part that a resource does not have for the resource, or the resource was deleted.
    """
    match failure.code:
        case "ST201":
            return not _fits(case)
        case "ST302":
            is_gone = not _DELETED.isdisjoint(map(str, (case.path_parameters or {}).values()))
            return not is_gone and str(json.loads(response.content)["code"]).startswith("unknown_")
        case _:
            return True


def _fits(case: AnyCase) -> bool:
    """Whether nothing but the body was meant to be malformed, and the body is not."""
    meta = case.meta
    assert meta is not None
    malformed = {place for place, each in meta.components.items() if each.mode is GenerationMode.NEGATIVE}
    if malformed - {ParameterLocation.BODY}:
        return False
    document: Any = case.operation.schema.raw_schema
    body = document["paths"][case.path][case.method.lower()].get("requestBody")
    if body is None or isinstance(case.body, NotSet):
        return body is None or not body["required"]
    schema = next(iter(body["content"].values()))["schema"]
    return bool(Draft202012Validator({"components": document["components"], **schema}).is_valid(_plain(case.body)))


def _plain(value: Any) -> Any:
    """The body as JSON: a file is a string in its schema."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else ""
