"""Sign-ins of browsers: a session stands for a key, so that no page holds the key itself.

The secret of a session is in a cookie that no script can read; the database has its digest. Requests that change
something also need the session's CSRF token in a header, which another site can neither read nor send.
"""

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from fastapi import Request, Response
from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.repository import KEYS, LiveKey
from app.access.secrets import digest
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.reads import Query
from app.db.rows import KeyRow, SessionRow
from app.db.signals import announce
from app.http.errors import Forbidden, Unauthorized

CSRF_HEADER: Final = "X-CSRF-Token"
KEPT: Final = timedelta(days=1)
"""How long the row of an expired session is kept, so that the answer says that it has expired."""
_COOKIE: Final = "stillhouse_session"
_RANDOM_BYTES: Final = 32
_LONGEST: Final = 64
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_OWN_PAGES: Final = (None, "same-origin", "none")
"""Values of Sec-Fetch-Site of requests by the dashboard's pages and by the user; None: an older browser, or none."""


class _Found(NamedTuple):
    """A session, with its key."""

    expires_at: datetime
    key_id: str
    project_id: str
    last_used_at: datetime | None
    revoked_at: datetime | None


_SESSION: Final = Query(
    _Found._make,
    select(SessionRow.expires_at, KeyRow.id, KeyRow.project_id, KeyRow.last_used_at, KeyRow.revoked_at)
    .join(KeyRow, KeyRow.id == SessionRow.key_id)
    .where(SessionRow.sha256 == bindparam("sha256")),
)


def secret_of(request: Request) -> str | None:
    """The secret of the session that a browser sends with a request of the dashboard's own pages; None without one.

    Pages of other sites, also of other ports of this host, have no session, whatever cookies their requests carry,
    where the browser says whose request it is (over https, and to loopback addresses); elsewhere SameSite and the CSRF
    token protect alone.
    """
    if not _by_own_page(request):
        return None
    secret = request.cookies.get(_cookie(request))
    return secret if secret and len(secret) <= _LONGEST else None


def require_own_page(request: Request) -> None:
    """Raise Forbidden for a request by a page of another site, which would sign a person in by a key of its own."""
    if not _by_own_page(request):
        raise Forbidden(
            "other_site", "expected a request by the dashboard's own page, found one by another site: open `/ui`"
        )


def _by_own_page(request: Request) -> bool:
    return request.headers.get("sec-fetch-site") in _OWN_PAGES


def _cookie(request: Request) -> str:
    """The name of the cookie. Browsers share cookies between the ports of a host, services do not share sessions."""
    port = request.url.port
    return _COOKIE if port is None else f"{_COOKIE}_{port}"


async def key_of(database: Database, secret: str) -> LiveKey | None:
    """The key of a session that has not expired; None where there is no such session. Raises Unauthorized for one that
    has ended.
    """
    found = await database.fetch(_SESSION, sha256=digest(secret))
    if not found:
        return None
    session = found[0]
    if session.revoked_at is not None:
        raise Unauthorized("revoked_key", "the key of this session was revoked: sign in with another one")
    if session.expires_at <= utcnow():
        raise Unauthorized("session_expired", "the session has expired: sign in again")
    return LiveKey(session.key_id, session.project_id, session.last_used_at)


def needed() -> Unauthorized:
    """The error of a browser that has not signed in."""
    return Unauthorized("session_needed", "expected a session, found none: sign in with an API key")


def require_csrf_token(request: Request, secret: str) -> None:
    """Raise Forbidden where a request that changes something lacks the session's CSRF token."""
    if request.method in _SAFE:
        return
    given = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), csrf_token(secret).encode()):
        raise Forbidden(
            "csrf_token_needed",
            f"expected the session's CSRF token in the header {CSRF_HEADER}, found "
            f"{'another' if given else 'none'}: `GET /ui/session` has it; scripts send a key instead",
        )


def csrf_token(secret: str) -> str:
    """The CSRF token of a session, from which its secret cannot be computed."""
    return hashlib.sha256(f"csrf:{secret}".encode()).hexdigest()


async def start(session: AsyncSession, key_id: str, hours: float) -> tuple[str, datetime]:
    """Insert a session of this key; its secret, and when it expires."""
    secret, expires = secrets.token_urlsafe(_RANDOM_BYTES), utcnow() + timedelta(hours=hours)
    session.add(SessionRow(sha256=digest(secret), key_id=key_id, expires_at=expires))
    await session.flush()
    return secret, expires


async def end(session: AsyncSession, secret: str) -> None:
    """Delete a session."""
    await session.execute(delete(SessionRow).where(SessionRow.sha256 == digest(secret)))
    announce(session, KEYS)  # processes remember sessions for a second


async def purge(session: AsyncSession) -> None:
    """Delete the sessions that expired long ago."""
    await session.execute(delete(SessionRow).where(SessionRow.expires_at < utcnow() - KEPT))


def set_cookie(request: Request, response: Response, secret: str, expires: datetime) -> None:
    """Have the browser keep the secret: no script reads it, and no other site's request carries it."""
    response.set_cookie(
        _cookie(request),
        secret,
        expires=expires,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def delete_cookie(request: Request, response: Response) -> None:
    """Have the browser forget the secret."""
    response.delete_cookie(_cookie(request), secure=request.url.scheme == "https", httponly=True, samesite="strict")
