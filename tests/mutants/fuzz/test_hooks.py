"""The checks of generated calls see what is wrong, and nothing else."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response
from schemathesis.config import ChecksConfig
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import (
    CaseMetadata,
    ComponentInfo,
    FuzzingPhaseData,
    GenerationInfo,
    PhaseInfo,
    TestPhase,
)
from schemathesis.schemas import BaseSchema

from app.main import create_app
from app.settings import Settings
from tests.mutants.fuzz import hooks

DATASET = f"ds_{'0' * 8}-0000-7000-8000-{'0' * 12}"
JOB: dict[str, Any] = {"kind": "train", "dataset": DATASET, "model": {"family": "mlp"}}
IDENTITY = "req_1"
CONTEXT = CheckContext(None, None, None, ChecksConfig(), None, response_checks=None)
PROBLEM: dict[str, Any] = {
    "type": "urn:stillhouse:problem:bad_format",
    "title": "Bad request",
    "status": 400,
    "detail": "expected a, found b: write a",
    "instance": f"/v1/jobs#{IDENTITY}",
    "code": "bad_format",
}


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    found: BaseSchema = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
    return found


def _case(
    schema: BaseSchema, mode: GenerationMode, path: str = "/v1/jobs", method: str = "POST", **parts: Any
) -> Case[Any]:
    meta = CaseMetadata(
        generation=GenerationInfo(time=0.0, mode=mode),
        components={ParameterLocation.BODY: ComponentInfo(mode)},
        phase=PhaseInfo(name=TestPhase.FUZZING, data=FuzzingPhaseData(None, None, None, None)),
    )
    found: Case[Any] = schema[path][method].Case(_meta=meta, media_type="application/json", **parts)
    return found


def _answer(document: Mapping[str, Any], status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    given = {"x-request-id": IDENTITY, "content-type": "application/problem+json", **(headers or {})}
    request = requests.Request("POST", "http://localhost/v1/jobs").prepare()
    return Response(
        status_code=status,
        headers={name: [value] for name, value in given.items()},
        content=json.dumps(document).encode(),
        request=request,
        elapsed=0.0,
        verify=False,
    )


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"code": "no_such_code", "type": "urn:stillhouse:problem:no_such_code"}, {}),
        ({"status": 422}, {}),
        ({"type": "about:blank"}, {}),
        ({"instance": "/v1/jobs#req_2"}, {}),
        ({"errors": [{"pointer": "", "code": "no_such_code", "detail": "a: b"}]}, {}),
        ({}, {"content-type": "application/json"}),
        ({}, {"x-request-id": ""}),
    ],
)
def test_a_problem_of_another_shape_is_a_fault(
    schema: BaseSchema, changes: dict[str, Any], headers: dict[str, str]
) -> None:
    case = _case(schema, GenerationMode.POSITIVE, body=JOB)
    hooks.problems_have_our_shape(CONTEXT, _answer(PROBLEM), case)
    with pytest.raises(Failure):
        hooks.problems_have_our_shape(CONTEXT, _answer(PROBLEM | changes, headers=headers), case)


@pytest.mark.parametrize("code", ["unknown_field", "wrong_type", "too_long", "bad_format"])
def test_a_call_that_fits_the_document_is_not_refused_for_its_form(schema: BaseSchema, code: str) -> None:
    answer = _answer(PROBLEM | {"code": "invalid_request", "errors": [{"pointer": "/a", "code": code}]}, 422)
    with pytest.raises(Failure, match="/a"):
        hooks.the_document_is_no_wider(CONTEXT, answer, _case(schema, GenerationMode.POSITIVE, body=JOB))
    hooks.the_document_is_no_wider(CONTEXT, answer, _case(schema, GenerationMode.NEGATIVE, body={}))


def test_errors_of_other_members_of_a_union_are_no_faults(schema: BaseSchema) -> None:
    case = _case(schema, GenerationMode.POSITIVE, body=JOB)
    errors = [{"pointer": "/a", "code": "invalid_value"}, {"pointer": "/a/b", "code": "missing"}]
    hooks.the_document_is_no_wider(CONTEXT, _answer(PROBLEM | {"code": "invalid_request", "errors": errors}, 422), case)
    errors.append({"pointer": "/ab", "code": "missing"})
    beside = _answer(PROBLEM | {"code": "invalid_request", "errors": errors}, 422)
    with pytest.raises(Failure, match="/ab"):
        hooks.the_document_is_no_wider(CONTEXT, beside, case)


@pytest.mark.parametrize(("status", "code"), [(422, "unknown_dataset"), (404, "unknown_job"), (400, "invalid_cursor")])
def test_a_call_may_be_refused_for_what_is_stored(schema: BaseSchema, status: int, code: str) -> None:
    answer = _answer(PROBLEM | {"code": code, "errors": [{"pointer": "/dataset", "code": code}]}, status)
    hooks.the_document_is_no_wider(CONTEXT, answer, _case(schema, GenerationMode.POSITIVE, body=JOB))


@pytest.mark.parametrize(("body", "is_fault"), [(JOB, False), ({**JOB, "kind": 3}, True), ({}, True)])
def test_a_malformed_body_that_is_accepted_is_a_fault_unless_it_fits(
    schema: BaseSchema, body: dict[str, Any], is_fault: bool
) -> None:
    failure = Failure(operation="POST /v1/jobs", message="accepted")
    failure.code = "ST201"  # type: ignore[misc]  # of the class that schemathesis raises
    case = _case(schema, GenerationMode.NEGATIVE, body=body)
    assert hooks.filter_failure(HookContext(operation=None), failure, case, _answer({}, 202)) is is_fault


def test_a_call_names_what_the_service_holds_and_deletes_none_of_it(
    schema: BaseSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [f"mdl_{number}" for number in range(1000)]
    monkeypatch.setattr(hooks, "_KNOWN", {"mdl": held})
    for method, is_known in (("GET", True), ("DELETE", False)):
        case = _case(
            schema, GenerationMode.POSITIVE, "/v1/models/{model_id}", method, path_parameters={"model_id": "x"}
        )
        hooks.before_call(HookContext(operation=None), case, {})
        assert (case.path_parameters["model_id"] in held) is is_known
