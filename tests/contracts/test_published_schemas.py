"""What a client may send is bounded and described, field by field, in the published schema itself."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.main import SCHEMAS, create_app
from app.settings import Settings

REQUESTS = ("JobSpec", "ModelManifest", "DatasetManifest")
Node = dict[str, Any]


def resolved(document: Node, node: Node) -> Node:
    """The node that a `$ref` names; a description beside the reference goes first."""
    if "$ref" not in node:
        return node
    target = document
    for step in node["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def fields(document: Node, node: Node, place: str, seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, Node]]:
    """(place, schema) of every property below `node`, each definition once on a way."""
    if node.get("$ref") in seen:
        return
    seen = seen | ({node["$ref"]} if "$ref" in node else set())
    node = resolved(document, node)
    for name, value in node.get("properties", {}).items():
        yield f"{place}.{name}", value
        yield from fields(document, value, f"{place}.{name}", seen)
    for part in (*node.get("anyOf", ()), *node.get("oneOf", ()), *children(node)):
        yield from fields(document, part, place, seen)


def children(node: Node) -> list[Node]:
    """Items of a list and values of a map."""
    found = [node.get("items"), node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    return [child for child in found if isinstance(child, dict)]


def alternatives(document: Node, node: Node) -> Iterator[Node]:
    """The leaves of a schema's unions, and what lists and maps hold."""
    node = resolved(document, node)
    parts = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    for part in parts:
        yield from alternatives(document, part)
    if not parts:
        yield node
        for child in children(node):
            yield from alternatives(document, child)


def is_bounded(node: Node) -> bool:
    """Whether a value of this schema has a size that the schema limits."""
    if "const" in node or "enum" in node:
        return True
    kind = node.get("type")
    if kind in ("integer", "number"):
        low, high = ("minimum" in node or "exclusiveMinimum" in node), ("maximum" in node or "exclusiveMaximum" in node)
        return low and high
    if kind == "string":
        return "maxLength" in node or "pattern" in node
    if kind == "array":
        return "maxItems" in node
    if kind == "object" and "properties" not in node:
        return "maxProperties" in node or "enum" in node.get("propertyNames", {})
    return kind in ("boolean", "null", "object")


@pytest.fixture(scope="module")
def document() -> Node:
    return create_app(Settings()).openapi()


def fields_of(document: Node) -> dict[str, Node]:
    return {
        place: node
        for name in REQUESTS
        for place, node in fields(document, document["components"]["schemas"][name], name)
    }


def test_every_field_of_a_request_is_described(document: Node) -> None:
    undescribed = [
        place
        for place, node in fields_of(document).items()
        if not resolved(document, node).get("description") and "const" not in node
    ]
    assert undescribed == []


def test_every_number_string_list_and_map_of_a_request_is_bounded(document: Node) -> None:
    unbounded = [
        place
        for place, node in fields_of(document).items()
        if not all(is_bounded(leaf) for leaf in alternatives(document, node))
    ]
    assert unbounded == []


def test_the_walk_reaches_the_depths(document: Node) -> None:
    found = fields_of(document)
    for place in (
        "JobSpec.training.schedule.milestones",
        "JobSpec.distillation.soft_targets.temperature",
        "JobSpec.tasks.distillation.supervised.weight",
        "JobSpec.job.student.hidden",
        "DatasetManifest.targets.predicts.std",
        "ModelManifest.architecture.channels",
    ):
        assert place in found


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_published_schema_is_valid_json_schema(document: Node, name: str) -> None:
    Draft202012Validator.check_schema(document["components"]["schemas"][name])


def test_kinds_are_distinguished_by_a_discriminator(document: Node) -> None:
    mapping = document["components"]["schemas"]["JobSpec"]["discriminator"]["mapping"]
    assert set(mapping) == {"train", "distill", "multitask", "preflight"}
