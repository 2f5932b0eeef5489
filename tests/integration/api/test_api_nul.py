"""The character NUL, of which PostgreSQL has no text, is refused or stored escaped, wherever a text comes from."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.integration.api.harness import DATASET, MODEL, ApiHarness, npz, safetensors

ID = "job_01890a5d-ac96-774b-bcce-b302099a8057"


def _urls(route: APIRoute) -> Iterator[str]:
    """The path with NUL in each of its parameters, and then in each parameter of the query."""
    names = [field.alias for field in route.dependant.path_params]
    for name in names:
        yield route.path.format(**{each: f"{ID}%00" if each == name else ID for each in names})
    plain = route.path.format(**dict.fromkeys(names, ID))
    for field in route.dependant.query_params:
        for value in ("%00", "key%00=a", "key=a%00"):
            yield f"{plain}?{field.alias}={value}"


async def test_nul_in_any_path_or_query_is_a_bad_request(any_harness: ApiHarness) -> None:
    routes = [each for each in any_harness.app.routes if isinstance(each, APIRoute) and each.path.startswith("/v1")]
    urls = [(method, url) for route in routes for method in route.methods or () for url in _urls(route)]
    assert len(urls) > 100
    for method, url in urls:
        answer = await any_harness.http.request(method, url)
        assert answer.status_code == 400, (method, url, answer.text)
        assert method == "HEAD" or answer.json()["code"] == "invalid_parameter", (method, url, answer.text)


def _with_nul(value: Any) -> Iterator[Any]:
    """The document with NUL in one of its texts or keys, for each of them."""
    if isinstance(value, str):
        yield f"{value}\0"
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from ([*value[:at], changed, *value[at + 1 :]] for changed in _with_nul(item))
    elif isinstance(value, dict):
        for key, item in value.items():
            rest = {name: each for name, each in value.items() if name != key}
            yield from ({**rest, key: changed} for changed in _with_nul(item))
            yield {**rest, f"{key}\0": item}


NOTES: dict[str, Any] = {"metadata": {"team": "vision"}, "licence": "MIT"}


@pytest.mark.parametrize(
    ("path", "manifest", "file"),
    [("models", {**MODEL, **NOTES}, safetensors()), ("datasets", {**DATASET, **NOTES}, npz())],
)
async def test_nul_in_any_text_of_a_manifest_is_no_fault_of_the_service(
    any_harness: ApiHarness, path: str, manifest: dict[str, Any], file: bytes
) -> None:
    for changed in _with_nul(manifest):
        answer = await any_harness.post(path, changed, file)
        assert answer.status_code in (201, 422), (changed, answer.text)
    parts = {"manifest": (None, json.dumps(manifest).encode()), "file": ("a%00\0b", file)}
    assert (await any_harness.http.post(f"/v1/{path}", files=parts)).status_code < 500
    identity = await any_harness.rejected(path)
    for changed in _with_nul({"name": "another", **NOTES}):
        answer = await any_harness.http.patch(f"/v1/{path}/{identity}", json=changed)
        assert answer.status_code in (200, 409, 422), (changed, answer.text)


async def test_nul_in_any_text_of_a_job_is_no_fault_of_the_service(any_harness: ApiHarness) -> None:
    spec = {**await any_harness.train_spec(), "name": "a job", "labels": {"team": "vision"}}
    for changed in _with_nul(spec):
        answer = await any_harness.http.post("/v1/jobs", json=changed)
        assert answer.status_code in (202, 422), (changed, answer.text)
