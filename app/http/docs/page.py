"""The routes of `/docs`: the page, the script that starts Swagger UI, and Swagger UI's own files.

URLs are relative, so that the page also works behind a proxy that adds a prefix to every path.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from app.http.docs.made_once import MadeOnce

SWAGGER_UI: Final = "swagger-ui-5.35.0"
"""The folder with Swagger UI's files; its README.md describes how to update them."""

_HERE: Final = Path(__file__).parent
_files: Final = StaticFiles(directory=_HERE)

PAGE: Final = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stillhouse API</title>
<link rel="icon" type="image/png" href="docs/{SWAGGER_UI}/favicon-32x32.png">
<link rel="stylesheet" href="docs/{SWAGGER_UI}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/{SWAGGER_UI}/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # the icons in swagger-ui.css are data URLs
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PAGE: Final = MadeOnce.of(PAGE, "text/html")
_CHECK_FIRST: Final = {"Cache-Control": "no-cache"}
_KEEP: Final = {"Cache-Control": "public, max-age=31536000, immutable"}  # another version has another path


def install(app: FastAPI) -> None:
    """Add the routes, which need no API key and are not in the OpenAPI document."""
    app.add_route("/docs", _page, include_in_schema=False)
    app.add_route("/docs/start.js", _start, include_in_schema=False)
    app.add_route(f"/docs/{SWAGGER_UI}/{{name}}", _asset, include_in_schema=False)


async def _page(request: Request) -> Response:
    return _PAGE.answer(request, {"Content-Security-Policy": POLICY, **_HEADERS, **_CHECK_FIRST})


async def _start(request: Request) -> Response:
    return await _file(request, "start.js", _CHECK_FIRST)


async def _asset(request: Request) -> Response:
    return await _file(request, f"{SWAGGER_UI}/{request.path_params['name']}", _KEEP)


async def _file(request: Request, path: str, caching: Mapping[str, str]) -> Response:
    found = await _files.get_response(path, request.scope)
    found.headers.update({**_HEADERS, **caching})
    return found
