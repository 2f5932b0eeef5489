"""A commit whose answer is lost: was it done? The database is asked for what only that transaction can have written.

Nothing else tells. The transaction's number does not: after a crash PostgreSQL gives numbers again that it had not
yet written down, and one that reads as committed may be another's. It serves to wait until the transaction is over.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db.postgresql import CHANNEL

RESOLVE_SECONDS: Final = 20.0
"""How long a database that is away may take to come back and tell."""
_PAUSE_SECONDS: Final = 0.1
_WITNESS: Final = "stillhouse_witness"
_log = logging.getLogger(__name__)

_SEAL = text(
    "SELECT CAST(pg_current_xact_id_if_assigned() AS text),"
    " (SELECT count(pg_notify(:channel, name)) FROM unnest(CAST(:names AS text[])) AS name)"
)
_STATUS = text("SELECT pg_xact_status(CAST(:number AS xid8))")


def witness(session: AsyncSession, statement: Select[Any]) -> None:
    """A query that finds a row if, and only if, the session's transaction was committed."""
    session.info[_WITNESS] = statement


def witnessed(session: AsyncSession) -> bool:
    """Whether the session's transaction has a witness."""
    return _WITNESS in session.info


async def commit(session: AsyncSession, engine: AsyncEngine, names: Sequence[str]) -> None:
    """Ring `names` and commit, on PostgreSQL. Where the connection breaks off before the answer, and the transaction
    has a witness, the database is asked on another one: done is done. Raises the driver's error for what was not
    done, or for what nobody could tell within RESOLVE_SECONDS.
    """
    number: str | None = await session.scalar(_SEAL, {"channel": CHANNEL, "names": list(names)})
    try:
        await session.commit()
    except DBAPIError as error:
        statement = session.info.get(_WITNESS)
        if not _cut(error) or number is None or statement is None:
            raise
        session.expunge_all()  # what was read stays usable, as after a commit
        await session.invalidate()
        if not await _was_done(engine, number, statement):
            raise
        _log.warning("the answer to a commit was lost (%s); it was done", type(error.orig).__name__)


def _cut(error: DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


async def _was_done(engine: AsyncEngine, number: str, statement: Select[Any]) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + RESOLVE_SECONDS
    while loop.time() < deadline:
        try:
            if await _over(engine, number):
                async with AsyncSession(engine) as session:
                    return await session.scalar(statement) is not None
        except (DBAPIError, PoolTimeout):
            pass  # still away
        await asyncio.sleep(_PAUSE_SECONDS)
    return False


async def _over(engine: AsyncEngine, number: str) -> bool:
    """Whether the transaction has ended: its backend may not have noticed yet that nobody listens."""
    async with AsyncSession(engine) as session:
        try:
            return bool(await session.scalar(_STATUS, {"number": number}) != "in progress")
        except DBAPIError as error:
            if _cut(error):
                raise
            return True  # a number of the future: it was lost in a crash
