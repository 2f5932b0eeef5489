"""Commits whose response is lost: a query for what only this transaction can have written tells if it was done.

The transaction's number is not enough: after a crash PostgreSQL reuses numbers that were not yet on disk, so a number
that reads as committed may be another transaction's. It only serves to wait until the transaction has ended.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db.postgresql import CHANNEL

RESOLVE_SECONDS: Final = 20.0
"""How long to wait for an unavailable database before the outcome counts as unknown."""
_PAUSE_SECONDS: Final = 0.1
_COMMIT_CHECK: Final = "stillhouse_commit_check"
_log = logging.getLogger(__name__)

_SEAL = text(
    "SELECT CAST(pg_current_xact_id_if_assigned() AS text),"
    " (SELECT count(pg_notify(:channel, name)) FROM unnest(CAST(:names AS text[])) AS name)"
)
_STATUS = text("SELECT pg_xact_status(CAST(:number AS xid8))")


def set_commit_check(session: AsyncSession, make: Callable[[], Select[Any]]) -> None:
    """Set what makes a query that finds a row if, and only if, the session's transaction was committed. It is seldom
    needed, so that it is made then.
    """
    session.info[_COMMIT_CHECK] = make


def has_commit_check(session: AsyncSession) -> bool:
    """Whether the session's transaction has such a query."""
    return _COMMIT_CHECK in session.info


async def commit(session: AsyncSession, engine: AsyncEngine, names: Sequence[str]) -> None:
    """Signal `names` and commit, on PostgreSQL.

    If the connection fails before the response, and the transaction has a commit check, the check runs on another
    connection. Raises the driver's error if the commit was not done, or if that is unknown after RESOLVE_SECONDS.
    """
    number: str | None = await session.scalar(_SEAL, {"channel": CHANNEL, "names": list(names)})
    try:
        await session.commit()
    except DBAPIError as error:
        make: Callable[[], Select[Any]] | None = session.info.get(_COMMIT_CHECK)
        if not _is_disconnect(error) or number is None or make is None:
            raise
        session.expunge_all()  # loaded objects stay usable, as after a commit
        await session.invalidate()
        if not await was_done(engine, number, make()):
            raise
        _log.warning("the response to a commit was lost (%s); it was done", type(error.orig).__name__)


def _is_disconnect(error: DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


async def was_done(engine: AsyncEngine, number: str, statement: Select[Any]) -> bool:
    """Whether the transaction of this number was committed, by its commit check. False, too, if that is unknown after
    RESOLVE_SECONDS.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RESOLVE_SECONDS
    while loop.time() < deadline:
        try:
            if await _has_ended(engine, number):
                async with AsyncSession(engine) as session:
                    return await session.scalar(statement) is not None
        except (DBAPIError, PoolTimeout):
            pass  # still unavailable
        await asyncio.sleep(_PAUSE_SECONDS)
    return False


async def _has_ended(engine: AsyncEngine, number: str) -> bool:
    """Whether the transaction has ended: its backend may not have noticed yet that the client is gone."""
    async with AsyncSession(engine) as session:
        try:
            return bool(await session.scalar(_STATUS, {"number": number}) != "in progress")
        except DBAPIError as error:
            if _is_disconnect(error):
                raise
            return True  # a number from the future: it was lost in a crash
