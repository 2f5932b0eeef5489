"""The OpenAPI document: FastAPI's paths, and the contracts' own JSON Schemas as its components."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from app.http.docs.made_once import MadeOnce

Mode = Literal["validation", "serialization"]
Schemas = Mapping[str, TypeAdapter[Any]]
PATH: Final = "/openapi.json"
_REFERENCE: Final = "#/components/schemas/{model}"
_NULL: Final = {"type": "null"}
_WITHOUT_NUL: Final = r"^[^\x00]*$"


def operation_id(route: APIRoute) -> str:
    """The name of the endpoint's function, such as `create_job`."""
    return route.name


def by_head(routes: Sequence[BaseRoute]) -> list[APIRoute]:
    """For each route of a GET one that answers HEAD by the same endpoint, and is not in the document. The server sends
    no body of it.
    """
    twins = [copy(route) for route in routes if isinstance(route, APIRoute) and route.methods == {"GET"}]
    for each in twins:
        each.methods, each.include_in_schema = {"HEAD"}, False
    return twins


def components(schemas: Schemas) -> dict[str, Any]:
    """JSON Schemas by name: those given, and every definition that they use.

    Requests and answers share one schema, that of requests: a spec in an answer can be sent again as it is, and
    generated clients have one class for it. It allows more than answers contain, such as a schedule by its name alone.
    """
    wanted: list[tuple[str, Mode, TypeAdapter[Any]]] = [(name, "validation", each) for name, each in schemas.items()]
    roots, common = TypeAdapter.json_schemas(wanted, ref_template=_REFERENCE)
    found: dict[str, Any] = dict(common.get("$defs", {}))
    for (name, _), schema in roots.items():
        if schema != {"$ref": _REFERENCE.format(model=name)}:
            found[name] = {"title": name, **schema}
    for schema in found.values():
        _describe_constants(schema)
        _plain_maps(schema)
    return dict(sorted(found.items()))


def _describe_constants(schema: dict[str, Any]) -> None:
    """A field with one value, such as the `method` that names a loss, needs no description of its own."""
    for field in schema.get("properties", {}).values():
        if "const" in field:
            value = field["const"]
            field.setdefault("description", f"Always `{value if isinstance(value, str) else str(value).lower()}`.")


def _plain_maps(node: Any) -> None:
    """Describe maps whose keys have a pattern with `additionalProperties`, the form that client generators support."""
    if isinstance(node, dict):
        patterned = node.pop("patternProperties", None)
        if patterned is not None:
            ((pattern, values),) = patterned.items()
            node["propertyNames"] = {**node.get("propertyNames", {}), "pattern": pattern}
            node["additionalProperties"] = values
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _plain_maps(child)


def changes_of(name: str, manifest: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of some fields of a manifest; those that have a default may also be null."""
    required = schema["required"]
    fields = schema["properties"].items()
    return {
        "title": name,
        "description": f"Fields of a {manifest} to replace; null restores the default. Fields left out stay.",
        "type": "object",
        "additionalProperties": False,
        "properties": {each: field if each in required else _or_null(field) for each, field in fields},
    }


def _or_null(field: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: field[name] for name in ("title", "description") if name in field}
    value = {name: part for name, part in field.items() if name not in (*kept, "default")}
    choices = value["anyOf"] if set(value) == {"anyOf"} else [value]
    return {**kept, "anyOf": [*choices, *([] if _NULL in choices else [_NULL])]}


def install(app: FastAPI, schemas: Schemas, changes: Mapping[str, str]) -> None:
    """Make `app.openapi()` contain these schemas and, by their names, those of `changes` to manifests, and serve it at
    PATH, which needs no key. Left out is what FastAPI adds and never sends: its own 422, and empty JSON beside a file.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            for path in document["paths"].values():
                for operation in path.values():
                    _without_foreign_errors(operation)
                    _as_texts(operation)
            found = components(schemas)
            found |= {name: changes_of(name, manifest, found[manifest]) for name, manifest in changes.items()}
            document["components"]["schemas"] = dict(sorted(found.items()))
            app.openapi_schema = document
        return app.openapi_schema

    @cache  # at the first request, as few processes are asked for it
    def made() -> MadeOnce:
        return MadeOnce.of(json.dumps(openapi(), ensure_ascii=False, separators=(",", ":")), "application/json")

    async def served(request: Request) -> Response:
        return made().answer(request)

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    app.add_route(PATH, served, include_in_schema=False)


def _as_texts(operation: dict[str, Any]) -> None:
    """Parameters as the texts that they are: one that may be left out is None to its function, but no text is null; and
    in none is the character NUL.
    """
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        choices = [each for each in schema.get("anyOf", ()) if each != _NULL]
        if len(choices) == 1:
            del schema["anyOf"]
            schema |= choices[0]
        text = schema.get("items", schema)
        if text.get("type") == "string" and not {"enum", "const"} & text.keys():
            text.setdefault("pattern", _WITHOUT_NUL)


def _without_foreign_errors(operation: dict[str, Any]) -> None:
    answers = operation.get("responses", {})
    if "application/json" in answers.get("422", {}).get("content", {}):
        del answers["422"]
    for answer in answers.values():
        content = answer.get("content", {})
        if content.get("application/json", {}).get("schema") == {}:
            del content["application/json"]
