"""Authentication by the Authorization header, or by the session of a browser, before any of the body is read."""

from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.base import SecurityBase

from app.access import limits, repository, sessions
from app.access.known_keys import KnownKeys
from app.access.repository import LiveKey
from app.access.secrets import digest
from app.db.clock import utcnow
from app.db.errors import DatabaseFull
from app.http.docs import openapi
from app.http.errors import Unauthorized
from app.http.services import Caller, Services, services_of
from app.http.validation import check_url

_scheme = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer <key>`")
_TOUCH_AFTER: Final = timedelta(minutes=10)
_LONGEST_KEY: Final = 512


class _Authentication(SecurityBase):
    """Dependency: the caller. One call instead of one for each of scheme, services, key and query, since FastAPI takes
    longer to solve a dependency than any of these takes.
    """

    model = _scheme.model
    scheme_name = _scheme.scheme_name

    async def __call__(self, request: Request) -> Caller:
        """Raises Unauthorized, TooMany beyond the limits of the key or of wrong keys, and then BadRequest for what
        `check_url` refuses.
        """
        known: KnownKeys = request.app.state.keys
        services = await services_of(request)
        key = await _key_of(request, known, services)
        if key.last_used_at is None or utcnow() - key.last_used_at > _TOUCH_AFTER:
            with suppress(DatabaseFull):  # when a key was last used is not worth refusing what reads alone
                async with services.database.write(short=True) as session:
                    await repository.touch(session, key.id, utcnow())
                known.forget()
        limits.count_request(services, key.id)
        check_url(request)
        return Caller.of(request, key.id, key.project_id)


_AUTHENTICATED: Final = Depends(_Authentication())
KnownCaller = Annotated[Caller, _AUTHENTICATED]


async def _key_of(request: Request, known: KnownKeys, services: Services) -> LiveKey:
    """The key of a request: that of its header, else that of the session of a browser."""
    credentials = await _scheme(request)
    if credentials is not None:
        return await live_key(request, credentials.credentials)
    secret = sessions.secret_of(request)
    if secret is None:
        raise Unauthorized("key_needed", "expected the header `Authorization: Bearer <key>`")
    key = await known.of_session(secret)
    if key is None:
        await limits.count_wrong_key(services, _address(request))
        raise sessions.needed()
    sessions.require_csrf_token(request, secret)
    return key


async def live_key(request: Request, text: str) -> LiveKey:
    """The key of this text. Raises Unauthorized, and TooMany beyond the limit of wrong keys of the client's address."""
    known: KnownKeys = request.app.state.keys
    key = await known.live(digest(text)) if len(text) <= _LONGEST_KEY else None
    if key is None:
        await limits.count_wrong_key(await services_of(request), _address(request))
        raise Unauthorized("unknown_key", "the key is unknown or revoked: ask an admin of the service for another")
    return key


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def guarded_router(prefix: str, tag: str) -> APIRouter:
    """A router whose every path needs an API key."""
    return APIRouter(
        prefix=prefix, tags=[tag], dependencies=[_AUTHENTICATED], generate_unique_id_function=openapi.operation_id
    )
