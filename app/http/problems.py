"""Every error as application/problem+json, and the request's id that ties it to the log."""

import asyncio
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

from app.db.errors import DatabaseUnavailable
from app.db.ids import uuid7
from app.errors import ApiError, BadRequest, NoRoom, NotFound, TooLarge, Unavailable
from app.storage.errors import StorageError, StorageFull, StorageUnavailable
from app.storage.errors import TooLarge as StoredTooLarge

MEDIA_TYPE: Final = "application/problem+json"
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_log = logging.getLogger(__name__)


class RequestIds:
    """Gives every request an id, says it in `X-Request-Id`, and turns what nobody caught into a 500 problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = scope.setdefault("state", {})["request_id"] = f"req_{uuid7()}"
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = identity
            await send(message)

        try:
            await self._app(scope, receive, named)
        except ClientDisconnect:
            _log.info("%s: the client went away", identity)
        except (asyncio.CancelledError, Exception) as error:
            problem = _last_word(scope, identity, error, started=started)
            if problem is not None and not started:
                await answer(Request(scope), problem)(scope, receive, named)


def _last_word(scope: Scope, identity: str, error: BaseException, *, started: bool) -> ApiError | None:
    """What is answered to an error that nobody caught; None where it is no more than a line in the log. Raises it again
    where the server must know.
    """
    if isinstance(error, asyncio.CancelledError):
        if not scope["app"].state.services.closing.is_set():
            raise error
        _log.info("%s: broken off, as the service stops", identity)
        return _stopping()
    # Starlette raises an error of its own where the answer had begun when ours came.
    if started and isinstance(error.__cause__, DatabaseUnavailable):
        _log.warning("%s broke off: %s", identity, error.__cause__)  # the server closes what was not ended
        return None
    if started:
        raise error
    _log.error("%s failed", identity, exc_info=error)
    return _unplanned()


def _stopping() -> ApiError:
    return Unavailable("service_stopping", "the service stops: send the same request again when it is there again")


def _unplanned() -> ApiError:
    return ApiError("internal_error", "the service failed at this request; its id names the place in the log")


def answer(request: Request, error: ApiError) -> Response:
    """The problem document of an error."""
    identity = getattr(request.state, "request_id", "")
    document = error.document(f"{request.url.path[:200]}#{identity}")
    content = document.model_dump_json(exclude_none=True).encode()
    return Response(content, error.status, headers=error.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Hang up the handlers: ours, FastAPI's, Starlette's, the database's."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _bad_parameters)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(DatabaseUnavailable, _database_unavailable)
    app.add_exception_handler(StorageError, _storage_error)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(request, error)


async def _bad_parameters(request: Request, error: Exception) -> Response:
    """Bodies are validated by `app.http.validation`; what comes here are paths, queries and headers."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where, name = first["loc"][0], first["loc"][-1]
    message = str(first["msg"]).replace("Input should be", "expected")
    detail = f"{where} parameter `{name}`: {message}"
    return answer(request, BadRequest("invalid_parameter", detail))


async def _database_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, DatabaseUnavailable)
    _log.warning("%s: %s", request.state.request_id, error)
    detail = "the database does not answer just now: send the same request again a little later"
    return answer(request, Unavailable("database_unavailable", detail, error.retry_after))


async def _storage_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StorageError)
    if isinstance(error, StorageFull):
        return answer(request, NoRoom("no_room", str(error)))
    if isinstance(error, StoredTooLarge):
        return answer(request, TooLarge("upload_too_large", str(error)))
    _log.warning("%s: %s", request.state.request_id, error)
    if isinstance(error, StorageUnavailable):
        detail = "the blob store does not answer just now: send the same request again a little later"
        return answer(request, Unavailable("store_unavailable", detail))
    return answer(request, ApiError("bytes_missing", "the bytes of this file are missing from the service's store"))


_CODES: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "no such path: `/docs` lists those that are"),
    405: ("method_not_allowed", "this path does not take that method: the Allow header says which"),
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
    """Every method that some route takes on this path; a route alone knows its own only."""
    routes = request.app.router.routes
    taken = (m for m in _METHODS if any(r.matches({**request.scope, "method": m})[0] is Match.FULL for r in routes))
    return ", ".join(taken)
