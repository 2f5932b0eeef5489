"""Authentication by the Authorization header, before any of the body is read."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.access import repository
from app.access.known_keys import KnownKeys
from app.access.secrets import digest
from app.db.clock import utcnow
from app.http.errors import Unauthorized
from app.http.services import Caller, TheServices
from app.http.validation import CheckedQuery

_scheme = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer <key>`")
_TOUCH_AFTER: Final = timedelta(minutes=10)
_LONGEST_KEY: Final = 512


async def authenticated(
    request: Request,
    services: TheServices,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)],
) -> Caller:
    """The caller; raises Unauthorized."""
    if credentials is None:
        raise Unauthorized("key_needed", "expected the header `Authorization: Bearer <key>`")
    known: KnownKeys = request.app.state.keys
    text = credentials.credentials
    key = await known.live(digest(text)) if len(text) <= _LONGEST_KEY else None
    if key is None:
        raise Unauthorized("unknown_key", "the key is unknown or revoked: ask an admin of the service for another")
    if key.last_used_at is None or utcnow() - key.last_used_at > _TOUCH_AFTER:
        async with services.database.write() as session:
            await repository.touch(session, key.id, utcnow())
        known.forget()
    return Caller(key.id, key.project_id)


KnownCaller = Annotated[Caller, Depends(authenticated)]

GUARDED: Final = [Depends(authenticated), CheckedQuery]
"""Dependencies of every router; authentication comes first."""
