"""How much of the database and the store a key takes: counted where it is added, in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, String, bindparam, func, literal, select, text, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.reads.pipeline import Call
from app.db.reads.query import Query
from app.db.rows import FileRow, JobRow, KeyRow

_WAITING: Final = text("jobs.state IN ('queued', 'paused')")
_KEY: Final = bindparam("key_id", type_=String())


@dataclass(frozen=True)
class Usage:
    """`waiting`: jobs that are queued or paused, counted up to a number. `bytes`: of the files that the key has
    uploaded or exported, and of its jobs' outputs. Equal files are one blob in the store and count each, as either may
    be deleted.
    """

    waiting: int
    bytes: int


def _counting() -> Query[tuple[Any, ...]]:
    waiting = select(literal(1)).select_from(JobRow).where(JobRow.key_id == _KEY, _WAITING)
    waiting_of = waiting.limit(bindparam("most", type_=Integer)).subquery()
    files = select(func.coalesce(func.sum(FileRow.bytes), 0)).where(FileRow.key_id == _KEY)
    outputs = select(func.coalesce(func.sum(JobRow.output_bytes), 0)).where(JobRow.key_id == _KEY)
    stored = type_coerce(files.scalar_subquery() + outputs.scalar_subquery(), BigInteger)
    return Query(tuple, select(select(func.count()).select_from(waiting_of).scalar_subquery(), stored))


_LOCK: Final = Query(tuple, select(KeyRow.id).where(KeyRow.id == _KEY).with_for_update(key_share=True))
_COUNT: Final = _counting()


def counted(key_id: str, most_waiting: int) -> list[Call]:
    """The statements that lock the key's row and count what it takes: what is counted after the lock holds until the
    transaction ends. `usage_of` reads the rows of the second.
    """
    return [(_LOCK, {"key_id": key_id}), (_COUNT, {"key_id": key_id, "most": most_waiting})]


def usage_of(rows: Sequence[Sequence[Any]]) -> Usage:
    """What the key takes, of the rows of the counting statement."""
    ((waiting, stored),) = rows
    return Usage(int(waiting), int(stored))


async def lock(session: AsyncSession, key_id: str) -> None:
    """Lock the key's row: what is counted afterwards holds until the transaction ends."""
    await session.execute(_LOCK.statement, {"key_id": key_id})


async def usage(session: AsyncSession, key_id: str, most_waiting: int) -> Usage:
    """What the key takes now; waiting jobs are counted up to `most_waiting`."""
    rows = await session.execute(_COUNT.statement, {"key_id": key_id, "most": most_waiting})
    return usage_of(rows.all())
