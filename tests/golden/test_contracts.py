"""The HTTP contract as files: the OpenAPI document, and in it the schema of job specs. A drift shows its difference.

`make golden` writes them anew; read the diff before you commit it, as clients live by it.
"""

import json
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from tests.golden.files import held

REQUESTS = ("ModelManifest", "DatasetManifest", "JobSpec")


def as_text(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def test_the_openapi_document_is_the_published_one(openapi: dict[str, Any]) -> None:
    held("openapi.json", as_text({**openapi, "info": {**openapi["info"], "version": "any"}}))


def test_the_schema_of_job_specs_stands_in_the_document(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    body = openapi["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/JobSpec"}
    assert set(REQUESTS) <= set(schemas)


def test_every_reference_of_the_document_leads_somewhere(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    text = json.dumps(openapi)
    referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert referred
    assert referred <= set(schemas)


def test_every_error_that_an_operation_names_is_a_problem_document(openapi: dict[str, Any]) -> None:
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status.startswith(("4", "5")):
                    assert "application/problem+json" in answer["content"], (path, method, status)
