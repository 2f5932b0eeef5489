"""The published OpenAPI document: everything in it is described, named once, and shown by a valid example."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.contracts.base import PRINTABLE_PATTERN, printable
from app.http.docs.examples import EXAMPLES
from app.main import SCHEMAS, create_app
from app.settings import Settings

Node = dict[str, Any]
MANIFESTS = ("ModelManifest", "DatasetManifest", "PredictionsManifest")
REQUESTS = (*MANIFESTS, "JobSpec", "RetryRequest", "ExportRequest", "PredictRequest")
VERBS = "create|list|get|update|delete|cancel|pause|resume|retry"


@pytest.fixture(scope="module")
def document() -> Node:
    return create_app(Settings()).openapi()


def operations(document: Node) -> Iterator[tuple[str, Node]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def contents(document: Node) -> Iterator[tuple[str, Node]]:
    """(operation, media type object) of every request body."""
    for name, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} {kind}", content


def nodes(node: Any) -> Iterator[Node]:
    """Every object below, itself included."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes(child)


def test_every_component_has_its_own_name_as_title(document: Node) -> None:
    titles = {name: schema.get("title") for name, schema in document["components"]["schemas"].items()}
    assert titles == {name: name for name in titles}
    assert all(name.isidentifier() for name in titles)


def test_every_component_and_every_field_of_it_is_described(document: Node) -> None:
    schemas = document["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    fields = {
        f"{name}.{field}": value
        for name, schema in schemas.items()
        for field, value in schema.get("properties", {}).items()
    }
    assert {"Job.state", "Report.verdict", "Verdict.interval", "KdTerm.method", "Model.rejection"} <= fields.keys()
    assert [place for place, value in fields.items() if not value.get("description")] == []


def test_every_operation_parameter_answer_and_part_of_an_upload_is_described(document: Node) -> None:
    described = {}
    for name, operation in operations(document):
        described[name] = operation.get("description")
        described |= {f"{name} {each['name']}": each.get("description") for each in operation.get("parameters", ())}
        described |= {f"{name} {status}": each.get("description") for status, each in operation["responses"].items()}
    for name, content in contents(document):
        parts = content["schema"].get("properties", {})
        described |= {f"{name} {part}": schema.get("description") for part, schema in parts.items()}
    assert "post /v1/datasets multipart/form-data file" in described
    assert [name for name, text in described.items() if not text] == []


def test_operations_are_named_by_verb_and_noun_each_once(document: Node) -> None:
    names = Counter(operation["operationId"] for _, operation in operations(document))
    assert max(names.values()) == 1
    assert [name for name in names if not re.fullmatch(rf"({VERBS})(_[a-z]+)+", name)] == []
    assert {"create_job", "list_jobs", "get_job", "cancel_job", "update_model", "delete_dataset"} <= names.keys()


def test_maps_say_what_their_values_are_in_the_way_that_client_generators_read(document: Node) -> None:
    assert [node for node in nodes(document) if "patternProperties" in node] == []
    inputs = document["components"]["schemas"]["ModelManifest"]["properties"]["inputs"]
    assert inputs["additionalProperties"]["$ref"].endswith("/ModelInputSpec")
    assert re.fullmatch(inputs["propertyNames"]["pattern"], "pixels")


def test_every_request_body_has_an_example(document: Node) -> None:
    shown = {}
    for name, content in contents(document):
        parts = content["schema"].get("properties", {})
        shown[name] = content.get("examples") or parts.get("manifest", {}).get("examples")
    assert len(shown) == 8
    assert [name for name, examples in shown.items() if not examples] == []


@pytest.mark.parametrize("name", REQUESTS)
def test_every_example_is_valid(document: Node, name: str) -> None:
    validator = Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"})
    for summary, value in EXAMPLES[name].items():
        SCHEMAS[name].validate_json(json.dumps(value))
        assert list(validator.iter_errors(value)) == [], summary


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_example_of_changes_gives_a_valid_manifest(document: Node, name: str) -> None:
    changes = f"{name}Changes"
    validator = Draft202012Validator({**document, "$ref": f"#/components/schemas/{changes}"})
    (first, *_) = EXAMPLES[name].values()
    for value in EXAMPLES[changes].values():
        SCHEMAS[name].validate_json(json.dumps({**first, **value}))
        assert list(validator.iter_errors(value)) == []


@pytest.mark.parametrize("name", MANIFESTS)
def test_changes_take_every_field_of_their_manifest_and_null_for_its_default(document: Node, name: str) -> None:
    schemas = document["components"]["schemas"]
    validator = Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}Changes"})
    assert schemas[f"{name}Changes"]["properties"].keys() == schemas[name]["properties"].keys()
    assert validator.is_valid({})
    required = set(schemas[name]["required"])
    for field in schemas[name]["properties"]:
        assert validator.is_valid({field: None}) == (field not in required), field
    assert not validator.is_valid({"nonsense": 1})
    assert not validator.is_valid({"name": 1})


def test_there_is_an_example_of_every_kind_of_job(document: Node) -> None:
    kinds = document["components"]["schemas"]["JobSpec"]["discriminator"]["mapping"]
    assert {value["kind"] for value in EXAMPLES["JobSpec"].values()} == kinds.keys()


def test_nothing_is_an_example_of_a_request_that_does_not_exist() -> None:
    assert EXAMPLES.keys() == {*REQUESTS, *(f"{name}Changes" for name in MANIFESTS)}


def test_parameters_are_texts_that_are_never_null_nor_hold_the_character_nul(document: Node) -> None:
    schemas = {
        f"{name} {each['name']}": each["schema"]
        for name, operation in operations(document)
        for each in operation.get("parameters", ())
    }
    assert len(schemas) > 50
    assert [name for name, schema in schemas.items() if any(each.get("type") == "null" for each in nodes(schema))] == []
    for name, schema in schemas.items():
        text = schema.get("items", schema)
        if text.get("type") == "string":
            assert not Draft202012Validator(text).is_valid("\0"), name


def test_an_upload_has_no_other_parts_than_its_manifest_and_its_file(document: Node) -> None:
    schemas = [content["schema"] for name, content in contents(document) if name.endswith("multipart/form-data")]
    assert [schema["additionalProperties"] for schema in schemas] == [False, False]


def test_every_operation_may_refuse_a_request_that_cannot_be_read(document: Node) -> None:
    assert [name for name, operation in operations(document) if "400" not in operation["responses"]] == []
    assert "503" in document["paths"]["/readyz"]["get"]["responses"]


@pytest.mark.parametrize(("count", "fits"), [(1, False), (2, True), (20, True), (21, False)])
def test_jobs_are_compared_by_two_to_twenty_ids(document: Node, count: int, fits: bool) -> None:
    ids = ",".join([f"job_{'0' * 8}-0000-7000-8000-{'0' * 12}"] * count)
    (jobs,) = document["paths"]["/v1/compare"]["get"]["parameters"]
    assert Draft202012Validator(jobs["schema"]).is_valid(ids) is fits


def test_a_printable_text_is_what_its_pattern_matches() -> None:
    def is_printable(text: str) -> bool:
        try:
            return printable(text) == text
        except ValueError:
            return False

    pattern = Draft202012Validator({"pattern": PRINTABLE_PATTERN})
    # Not at the end: to Python, `$` is also before a last newline.
    texts = [f"a{chr(code)}b" for code in range(0x300)]
    assert [text for text in texts if pattern.is_valid(text) is not is_printable(text)] == []
    assert 0 < sum(map(is_printable, texts)) < len(texts)
