"""Authentication by the Authorization header, before any of the body is read."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.access import limits, repository
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.rows import KeyRow
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
    """The caller; raises Unauthorized, and TooMany beyond the limits of the key or of wrong keys."""
    if credentials is None:
        raise Unauthorized("key_needed", "expected the header `Authorization: Bearer <key>`")
    row = await _row(services.database, credentials.credentials)
    if row is None:
        await limits.count_wrong_key(services, request.client.host if request.client else "")
        raise Unauthorized("unknown_key", "the key is unknown or revoked: ask an admin of the service for another")
    limits.count_request(services, row.id)
    return Caller(row.id, row.project_id)


async def _row(database: Database, key: str) -> KeyRow | None:
    if len(key) > _LONGEST_KEY:
        return None
    async with database.read() as session:
        row = await repository.find(session, key)
    if row is not None and (row.last_used_at is None or utcnow() - row.last_used_at > _TOUCH_AFTER):
        async with database.write() as session:
            await repository.touch(session, row.id, utcnow())
    return row


KnownCaller = Annotated[Caller, Depends(authenticated)]

GUARDED: Final = [Depends(authenticated), CheckedQuery]
"""Dependencies of every router; authentication comes first."""
