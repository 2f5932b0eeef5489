"""`/ui/session`: a browser signs in by a key, and out."""

from datetime import datetime
from importlib.metadata import version
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, Field, StringConstraints, TypeAdapter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import limits, sessions
from app.access.authentication import live_key
from app.access.secrets import digest
from app.contracts.base import Answer, Contract
from app.db.rows import KeyRow, SessionRow
from app.http.answers import json_answer
from app.http.bodies import read_json
from app.http.services import TheServices
from app.http.validation import check_url, parse_as

router: Final = APIRouter(prefix="/ui/session", include_in_schema=False)


class SignIn(Contract):
    """What a browser signs in by."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(description="An API key.")


class SessionKey(Answer):
    """The key of a session, without its secret."""

    id: str
    name: str
    prefix: str


class Session(Answer):
    """A sign-in."""

    csrf: str = Field(description="To be sent as X-CSRF-Token with requests that change something.")
    expires_at: AwareDatetime
    key: SessionKey
    version: str = Field(description="Version of the service.")


_SIGN_IN: Final = TypeAdapter(SignIn)


@router.post("")
async def create_session(request: Request, services: TheServices) -> Response:
    """Sign in: the browser has a cookie then that stands for the key."""
    sessions.require_own_page(request)
    check_url(request)
    key = await live_key(request, parse_as(_SIGN_IN, await read_json(request, services.pace)).key)
    limits.count_request(services, key.id)
    async with services.database.write() as session:
        secret, expires = await sessions.start(session, key.id, services.settings.session_hours)
        answer = json_answer(await _view(session, key.id, secret, expires))
    sessions.set_cookie(request, answer, secret, expires)
    return answer


@router.get("")
async def get_session(request: Request, services: TheServices) -> Response:
    """The session of this browser."""
    check_url(request)
    secret = await _secret(request, services)
    async with services.database.read() as session:
        row = await session.get(SessionRow, digest(secret))
        if row is None:
            raise sessions.needed()
        return json_answer(await _view(session, row.key_id, secret, row.expires_at))


@router.delete("")
async def delete_session(request: Request, services: TheServices) -> Response:
    """Sign out."""
    check_url(request)
    secret = await _secret(request, services)
    sessions.require_csrf_token(request, secret)
    async with services.database.write() as session:
        await sessions.end(session, secret)
    answer = Response(status_code=204)
    sessions.delete_cookie(request, answer)
    return answer


async def _secret(request: Request, services: TheServices) -> str:
    """The secret of a session that has not ended. Raises Unauthorized, TooMany."""
    secret = sessions.secret_of(request)
    key = None if secret is None else await request.app.state.keys.of_session(secret)
    if secret is None or key is None:
        raise sessions.needed()
    limits.count_request(services, key.id)
    return secret


async def _view(session: AsyncSession, key_id: str, secret: str, expires: datetime) -> Session:
    key = (await session.scalars(select(KeyRow).where(KeyRow.id == key_id))).one()
    shown = SessionKey(id=key.id, name=key.name, prefix=key.prefix)
    return Session(csrf=sessions.csrf_token(secret), expires_at=expires, key=shown, version=version("stillhouse"))
