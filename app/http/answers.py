"""JSON answers, and the pages of the OpenAPI document that describe them.

Bodies and answers are written and read by this package, not by FastAPI, which would read a body before it has
authenticated the caller. The document therefore names its schemas itself: `schema_of` refers to one, and
`app.http.docs.openapi` fills them all in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response
from pydantic import BaseModel

from app.http.docs.examples import EXAMPLES


def json_answer(view: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A view as JSON, with the field names of the contract."""
    return json_text_answer(view.model_dump_json(by_alias=True), status, headers)


def json_text_answer(content: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that is JSON already."""
    return Response(content, status, headers=headers, media_type="application/json")


def schema_of(name: str) -> dict[str, Any]:
    """A reference to a schema of the OpenAPI document."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_content(name: str, description: str) -> dict[str, Any]:
    """An answer of that schema."""
    return {"description": description, "content": {"application/json": {"schema": schema_of(name)}}}


def binary_content(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Answers that are a file, or a part of it."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {
        200: {"description": "The file.", "content": content},
        206: {"description": "The requested range of it.", "content": content},
        304: {"description": "The client has these bytes already."},
    }


def json_body(*names: str, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of an operation that takes JSON of one of these schemas."""
    examples = {summary: {"value": value} for name in names for summary, value in EXAMPLES[name].items()}
    content = {"application/json": {"schema": _one_of(names), "examples": examples}}
    return {"requestBody": {"required": required, "content": content}}


def _one_of(names: Sequence[str]) -> dict[str, Any]:
    return schema_of(names[0]) if len(names) == 1 else {"anyOf": [schema_of(name) for name in names]}


def changes_name(manifest: str) -> str:
    """The schema of some fields of that manifest."""
    return f"{manifest}Changes"


def upload_body(*manifests: str, most_files: int = 1) -> dict[str, Any]:
    """`openapi_extra` of an operation that takes a manifest of one of these schemas, and one or several files."""
    file = {"type": "string", "format": "binary", "description": "The file itself, of any content type."}
    files = {
        "type": "array",
        "items": file,
        "minItems": 1,
        "maxItems": most_files,
        "description": "The file, or several of one format as parts of this name. Their rows follow each other in the "
        "order of the files' names (by characters: pad numbers with zeros).",
    }
    parts = {
        "manifest": {
            **_one_of(manifests),
            "description": "What the file contains, as JSON of at most 1 MiB.",
            "examples": [example for manifest in manifests for example in EXAMPLES[manifest].values()],
        },
        "file": file if most_files == 1 else files,
    }
    schema = {
        "type": "object",
        "required": ["manifest", "file"],
        "additionalProperties": False,
        "properties": parts,
    }
    encoding = {"manifest": {"contentType": "application/json"}}
    content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an operation that requires an API key."""
    return {status: problem(status) for status in (401, *statuses, 429, 503, 507)}


def problem(status: int) -> dict[str, Any]:
    """An error."""
    content = {"application/problem+json": {"schema": schema_of("ProblemDocument")}}
    return {"description": _TITLES[status], "content": content}


_TITLES: Mapping[int, str] = {
    400: "The request cannot be read.",
    401: "No API key, or an unknown one.",
    404: "No such resource.",
    408: "The body is too slow.",
    409: "The resource's state does not allow it.",
    413: "The body is too large.",
    415: "Another content type is expected.",
    416: "The requested range lies outside the file.",
    422: "Well-formed but invalid; `errors` names the places.",
    429: "The key asks too often, or has too much: try again later.",
    503: "Try again a little later.",
    507: "A disk of the service is full.",
}
