"""Errors as application/problem+json, with a request id that is also in the log."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db.errors import DatabaseFull, DatabaseUnavailable
from app.db.ids import uuid7
from app.http.errors import ApiError, BadRequest, NoRoom, NotFound, TooLarge, Unavailable, revoked
from app.queue.blobs import UnknownBlob
from app.queue.keys.quotas import KeyRevoked
from app.storage.errors import StorageError, StorageFull, StorageUnavailable
from app.storage.errors import TooLarge as StoredTooLarge

MEDIA_TYPE: Final = "application/problem+json"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_LONGEST_FOUND: Final = 80
_log = logging.getLogger(__name__)


class RequestIds:
    """Gives every request an id, sent as `X-Request-Id`, and turns uncaught errors into a 500 problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = scope.setdefault("state", {})["request_id"] = f"req_{uuid7()}"
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = identity
                headers.setdefault("Cache-Control", "no-store")  # answers to a cookie look public to caches
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            _log.info("%s: the client disconnected", identity)
        except (asyncio.CancelledError, Exception) as error:
            problem = _problem_of_uncaught(scope, identity, error, started=started)
            if problem is not None and not started:
                await answer(Request(scope), problem)(scope, receive, send_with_id)


def _problem_of_uncaught(scope: Scope, identity: str, error: BaseException, *, started: bool) -> ApiError | None:
    """The response to an uncaught error, None if it is only logged. Raises it again if the server must handle it."""
    if isinstance(error, asyncio.CancelledError):
        if not scope["app"].state.services.closing.is_set():
            raise error
        _log.info("%s: aborted because the service is stopping", identity)
        return _stopping()
    # If the response has started, Starlette wraps our error in its own.
    if started and isinstance(error.__cause__, DatabaseUnavailable):
        _log.warning("%s was aborted: %s", identity, error.__cause__)  # the server closes the connection
        return None
    if started:
        raise error
    _log.error("%s failed", identity, exc_info=error)
    return _internal_error()


def _stopping() -> ApiError:
    return Unavailable("service_stopping", "the service is stopping: send the same request again once it is back")


def _internal_error() -> ApiError:
    return ApiError("internal_error", "this request caused an internal error: search the log for its id")


def answer(request: Request, error: ApiError) -> Response:
    """The problem document of an error."""
    identity = getattr(request.state, "request_id", "")
    document = error.document(f"{request.url.path[:200]}#{identity}")
    content = document.model_dump_json(exclude_none=True).encode()
    return Response(content, error.status, headers=error.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Install the error handlers."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(DatabaseUnavailable, _database_unavailable)
    app.add_exception_handler(DatabaseFull, _database_full)
    app.add_exception_handler(StorageError, _storage_error)
    app.add_exception_handler(UnknownBlob, _unknown_blob)
    app.add_exception_handler(KeyRevoked, _key_revoked)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(request, error)


async def _bad_parameters(request: Request, error: Exception) -> Response:
    """FastAPI validates paths, queries and headers only; bodies are validated by `app.http.validation`."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where, name, *place = first["loc"]
    expected = str(first["msg"]).partition(", unable to parse")[0]
    for words, plain in (("Input should be", "expected"), ("String should match pattern", "expected text as")):
        expected = expected.replace(words, plain)
    found = "" if first["type"] == "missing" else f", found {json.dumps(first['input'], default=str)[:_LONGEST_FOUND]}"
    repeat = ": repeat the parameter for several" if place else ""
    return answer(request, BadRequest("invalid_parameter", f"{where} parameter `{name}`: {expected}{found}{repeat}"))


async def _database_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, DatabaseUnavailable)
    _log.warning("%s: %s", request.state.request_id, error)
    detail = "the database does not answer at the moment: send the same request again later"
    return answer(request, Unavailable("database_unavailable", detail, error.retry_after))


async def _database_full(request: Request, error: Exception) -> Response:
    assert isinstance(error, DatabaseFull)
    _log.warning("%s: %s", request.state.request_id, error)
    return answer(request, NoRoom("no_room", error.detail))


async def _storage_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageError)
    if isinstance(error, StorageFull):
        return answer(request, NoRoom("no_room", str(error)))
    if isinstance(error, StoredTooLarge):
        return answer(request, TooLarge("upload_too_large", str(error)))
    _log.warning("%s: %s", request.state.request_id, error)
    if isinstance(error, StorageUnavailable):
        detail = "the blob store does not answer at the moment: send the same request again later"
        return answer(request, Unavailable("store_unavailable", detail))
    return answer(
        request, ApiError("bytes_missing", "this file is missing from the store: restore it, or upload it again")
    )


async def _unknown_blob(request: Request, error: Exception) -> Response:
    """Only where the database did not answer `Blobs.kept` for minutes, and answers again."""
    _log.warning("%s: %s", request.state.request_id, error)
    detail = "equal bytes of something else were deleted while these were stored: send the same request again"
    return answer(request, Unavailable("bytes_collected", detail))


async def _key_revoked(request: Request, error: Exception) -> Response:
    return answer(request, revoked())


_CODES: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "no such path: `/docs` lists all paths"),
    405: ("method_not_allowed", "this path does not support the method: the Allow header lists those it does"),
}


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, detail = _CODES.get(error.status_code, ("http_error", error.detail))
    known = NotFound if error.status_code == 404 else ApiError
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    problem = known(code, detail, headers=headers)
    problem.status = error.status_code
    if known is ApiError:
        problem.title = error.detail
    return answer(request, problem)


def _allowed(request: Request) -> str:
    """The methods of all routes with this path; a route only has its own."""
    routes = request.app.router.routes
    taken = (m for m in _METHODS if any(r.matches({**request.scope, "method": m})[0] is Match.FULL for r in routes))
    return ", ".join(taken)
