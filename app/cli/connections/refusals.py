"""Answers that need no application: a connection too many, headers that do not end."""

import logging
import time
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db.ids import uuid7
from app.http.errors import ApiError, TooSlow, Unavailable
from app.http.problems import MEDIA_TYPE

PROBES: Final = ("/healthz", "/readyz")
RETRY_SECONDS: Final = 2.0


def too_many() -> ApiError:
    """The problem of a connection beyond the caps."""
    return Unavailable(
        "too_many_connections",
        "the service has as many connections as it may: close idle ones, and send the request again later",
        RETRY_SECONDS,
    )


def headers_too_slow(seconds: float) -> ApiError:
    """The problem of headers that did not end in time."""
    detail = f"expected the headers of a request within {seconds:g} s: send the request again on a better connection"
    return TooSlow("headers_too_slow", detail)


def raw_answer(error: ApiError) -> bytes:
    """A whole HTTP/1.1 response, after which the connection is closed."""
    body = _body(error)
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **error.headers, "Connection": "close"}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _body(error: ApiError) -> bytes:
    return error.document(f"#req_{uuid7()}").model_dump_json(exclude_none=True).encode()


class ProbesOnly:
    """The application on a spare connection: probes are answered, all else is refused, and the connection closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if scope["path"] in PROBES:
            await self._app(scope, receive, send_and_close)
            return
        error, body = too_many(), _body(too_many())
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **error.headers}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send_and_close({"type": "http.response.start", "status": error.status, "headers": encoded})
        await send({"type": "http.response.body", "body": body})


class OnceASecond(logging.Filter):
    """Of warnings with equal texts, which strangers can cause, one a second is logged."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged; errors always are."""
        if record.levelno >= logging.ERROR:
            return True
        now = time.monotonic()
        if now - self._last.get(str(record.msg), -1.0) < 1.0:
            return False
        self._last[str(record.msg)] = now
        return True


log: Final = logging.getLogger("uvicorn.error.connections")
"""Of this package, and of uvicorn's protocol below it."""
log.setLevel(logging.INFO)  # uvicorn asks its logger for its level, to trace connections
log.addFilter(OnceASecond())
