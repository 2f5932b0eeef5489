"""Reading a request body in chunks, with limits on its size and on how long it may stall."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request

from app.http.errors import BadRequest, NotSupported, TooLarge, TooSlow
from app.http.strict_json import MOST_BYTES


def content_length(request: Request) -> int | None:
    """The Content-Length header, None for a chunked body."""
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(
            "bad_content_length", "expected Content-Length to be a whole number of bytes: leave it to the HTTP client"
        )
    return int(text)


async def chunks(request: Request, idle_seconds: float) -> AsyncGenerator[bytes, None]:
    """The chunks of the body; raises TooSlow after `idle_seconds` without one, ClientDisconnect if it is gone."""
    async with aclosing(request.stream()) as stream:
        while True:
            try:
                async with asyncio.timeout(idle_seconds):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise TooSlow(
                    "body_too_slow",
                    f"no byte of the body arrived for {idle_seconds:g} s: send it again",
                ) from None
            if chunk is None:
                return
            yield chunk


async def read_json(request: Request, idle_seconds: float) -> bytes:
    """A JSON body of at most 1 MiB. A larger Content-Length is refused before a byte is read."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise NotSupported(
            "json_expected", "expected a body of Content-Type application/json: use curl's --json instead of -d"
        )
    return await read_whole(request, idle_seconds, MOST_BYTES)


async def read_whole(request: Request, idle_seconds: float, most: int) -> bytes:
    """A body of any content type; raises TooLarge above `most` bytes, TooSlow."""
    announced = content_length(request)
    if announced is not None and announced > most:
        raise _too_large(most)
    body = bytearray()
    async with aclosing(chunks(request, idle_seconds)) as stream:
        async for chunk in stream:
            body += chunk
            if len(body) > most:
                raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> TooLarge:
    return TooLarge("body_too_large", f"this body may have at most {most} bytes: upload data as a dataset")
