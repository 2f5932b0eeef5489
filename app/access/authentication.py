"""Authentication by the Authorization header, before any of the body is read."""

from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.base import SecurityBase

from app.access import limits, repository
from app.access.known_keys import KnownKeys
from app.access.secrets import digest
from app.db.clock import utcnow
from app.db.errors import DatabaseFull
from app.http.docs import openapi
from app.http.errors import Unauthorized
from app.http.services import Caller, services_of
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
        credentials = await _scheme(request)
        if credentials is None:
            raise Unauthorized("key_needed", "expected the header `Authorization: Bearer <key>`")
        known: KnownKeys = request.app.state.keys
        text = credentials.credentials
        key = await known.live(digest(text)) if len(text) <= _LONGEST_KEY else None
        services = await services_of(request)
        if key is None:
            await limits.count_wrong_key(services, request.client.host if request.client else "")
            raise Unauthorized("unknown_key", "the key is unknown or revoked: ask an admin of the service for another")
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


def guarded_router(prefix: str, tag: str) -> APIRouter:
    """A router whose every path needs an API key."""
    return APIRouter(
        prefix=prefix, tags=[tag], dependencies=[_AUTHENTICATED], generate_unique_id_function=openapi.operation_id
    )
