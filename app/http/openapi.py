"""The OpenAPI document: FastAPI's paths, and the contracts' own JSON Schemas as its components."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

Mode = Literal["validation", "serialization"]
Schemas = Mapping[str, tuple[TypeAdapter[Any], Mode]]
_REFERENCE = "#/components/schemas/{model}"


def components(schemas: Schemas) -> dict[str, Any]:
    """JSON Schemas by name: those given, and every definition that they use."""
    wanted = [(name, mode, adapter) for name, (adapter, mode) in schemas.items()]
    roots, common = TypeAdapter.json_schemas(wanted, ref_template=_REFERENCE)
    found: dict[str, Any] = dict(common.get("$defs", {}))
    for (name, _), schema in roots.items():
        if schema != {"$ref": _REFERENCE.format(model=name)}:
            found[name] = schema
    return dict(sorted(found.items()))


def install(app: FastAPI, schemas: Schemas) -> None:
    """Make `app.openapi()` hold these schemas. FastAPI's own names for errors that it never sends go."""

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
            document["components"]["schemas"] = components(schemas)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _without_foreign_errors(operation: dict[str, Any]) -> None:
    answers = operation.get("responses", {})
    if "application/json" in answers.get("422", {}).get("content", {}):
        del answers["422"]
    for answer in answers.values():
        content = answer.get("content", {})
        if content.get("application/json", {}).get("schema") == {}:
            del content["application/json"]
