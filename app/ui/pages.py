"""The dashboard's page and files. They need no key: what they show, they ask `/v1` for."""

from functools import cache
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from app.http.docs.made_once import MadeOnce
from app.http.errors import NotFound

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",  # rows of a preview, and images that are tried
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types report",  # parses the page of a report, which the service writes
    )
)
_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_PAGE_HEADERS: Final = {**_HEADERS, "Content-Security-Policy": POLICY}
_BASE: Final = "{{base}}"
"""In the page, the place of the path from the page to `/ui/`: a proxy may put any prefix before it."""
_DEEPEST: Final = 3
"""Most segments of a page's path below `/ui/`."""


def install(app: FastAPI) -> None:
    """Add the routes, which are not in the OpenAPI document."""
    app.add_route("/ui", _page, include_in_schema=False)
    app.add_route("/ui/static/{path:path}", _file, include_in_schema=False)
    app.add_route("/ui/{path:path}", _page, include_in_schema=False)


async def _page(request: Request) -> Response:
    depth = -1 if "path" not in request.path_params else _depth(request)
    if depth >= _DEEPEST:
        raise NotFound("no_such_page", "the dashboard has no such page: `/ui` has its first one")
    return _page_at(depth).answer(request, _PAGE_HEADERS)


def _depth(request: Request) -> int:
    """The folders below `/ui/` as the browser counts them, for whom an encoded slash is none."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return raw.partition(b"?")[0].partition(b"/ui/")[2].count(b"/")


@cache
def _page_at(depth: int) -> MadeOnce:
    """The page for a path with so many folders below `/ui/`; -1 for `/ui` itself."""
    text = (_FOLDER / "index.html").read_text(encoding="utf-8")
    return MadeOnce.of(text.replace(_BASE, "ui/" if depth < 0 else "../" * depth), "text/html")


async def _file(request: Request) -> Response:
    found = _files().get(request.path_params["path"])
    if found is None:
        raise NotFound("no_such_file", "the dashboard has no such file: load its page again, at `/ui`")
    return found.answer(request, _HEADERS)


@cache  # at the first request, as few processes are asked for them
def _files() -> dict[str, MadeOnce]:
    """The files of the pages by their paths."""
    return {
        path.relative_to(_FOLDER).as_posix(): MadeOnce.of(path.read_text(encoding="utf-8"), _MEDIA_TYPES[path.suffix])
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _MEDIA_TYPES and path.name != "index.html"
    }
