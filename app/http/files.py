"""Serving a file: length, strong ETag, digest, ranges, conditional requests."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from app.http.ranges import Span, etag_of, not_modified, repr_digest, requested_span
from app.http.services import Services

BINARY: Final = "application/octet-stream"


@dataclass(frozen=True)
class ServedFile:
    """A file to serve: the name to save it under, its size and digest, and how to read a range of it."""

    name: str
    size: int
    sha256: str
    read: Callable[[int, int], AsyncIterator[bytes]]
    media_type: str = BINARY


def blob(services: Services, name: str, size: int, sha256: str) -> ServedFile:
    """A blob of the store."""
    return ServedFile(name, size, sha256, partial(services.store.open_range, sha256))


async def serve(request: Request, file: ServedFile) -> Response:
    """The response to GET or HEAD. Raises RangeRefused, and what the store raises before the first byte is sent."""
    headers = {
        "ETag": etag_of(file.sha256),
        "Repr-Digest": repr_digest(file.sha256),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{file.name}"',
    }
    if not_modified(request.headers.get("if-none-match"), file.sha256):
        return Response(status_code=304, headers=headers)
    span = requested_span(request.headers.get("range"), request.headers.get("if-range"), file.sha256, file.size)
    status = 200 if span is None else 206
    if span is None:
        span = Span(0, file.size)
    else:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{file.size}"
    headers["Content-Length"] = str(span.length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.media_type)
    chunks = file.read(span.start, span.end)
    first = await anext(chunks, b"")
    return StreamingResponse(_chain(first, chunks), status, headers=headers, media_type=file.media_type)


async def _chain(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk
