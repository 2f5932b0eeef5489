"""Reading a request body in chunks, with limits on its size, and on how slow it may be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from fastapi import Request

from app.http.errors import BadRequest, NotSupported, TooLarge, TooSlow
from app.http.strict_json import MOST_BYTES


@dataclass(frozen=True)
class Pace:
    """What a body must keep to: a byte every `seconds`, and `bytes_per_second` over such a time."""

    seconds: float
    bytes_per_second: int


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


async def chunks(request: Request, pace: Pace) -> AsyncGenerator[bytes, None]:
    """The chunks of the body; raises TooSlow if it does not keep to the pace, ClientDisconnect if it is gone.

    Only the time counts that is spent waiting for the client, not that for the disk.
    """
    clock = asyncio.get_running_loop().time
    waited, arrived = 0.0, 0
    async with aclosing(request.stream()) as stream:
        while True:
            began = clock()
            try:
                async with asyncio.timeout(pace.seconds):
                    chunk = await anext(stream, None)
            except TimeoutError:
                raise TooSlow(
                    "body_too_slow",
                    f"no byte of the body arrived for {pace.seconds:g} s: send it again",
                ) from None
            if chunk is None:
                return
            waited, arrived = waited + clock() - began, arrived + len(chunk)
            if waited >= pace.seconds:
                _require_pace(pace, arrived / waited)
                waited, arrived = 0.0, 0
            yield chunk


def _require_pace(pace: Pace, found: float) -> None:
    if found < pace.bytes_per_second:
        raise TooSlow(
            "body_too_slow",
            f"expected at least {pace.bytes_per_second} bytes of the body a second over {pace.seconds:g} s, found "
            f"{found:.0f}: send it again on a better connection",
        )


async def read_json(request: Request, pace: Pace) -> bytes:
    """A JSON body of at most 1 MiB. A larger Content-Length is refused before a byte is read."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise NotSupported(
            "json_expected", "expected a body of Content-Type application/json: use curl's --json instead of -d"
        )
    return await read_whole(request, pace, MOST_BYTES)


async def read_whole(request: Request, pace: Pace, most: int) -> bytes:
    """A body of any content type; raises TooLarge above `most` bytes, TooSlow."""
    announced = content_length(request)
    if announced is not None and announced > most:
        raise _too_large(most)
    body = bytearray()
    async with aclosing(chunks(request, pace)) as stream:
        async for chunk in stream:
            body += chunk
            if len(body) > most:
                raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> TooLarge:
    return TooLarge("body_too_large", f"this body may have at most {most} bytes: upload data as a dataset")
