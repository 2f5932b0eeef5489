"""A fair share of a lane for each key: whose job is claimed next.

First the key with the fewest jobs at work in the lane; of several the one that was served least recently; of several
that never were the one whose job waits longest. Jobs without a key, which are the service's own, share as one key.
"""

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Select, String, and_, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.rows import JobRow, LaneTurnRow
from app.db.writes import upsert

NO_KEY = ""

# Spelt as in the partial indexes of jobs, so that they are used.
_QUEUED = text("jobs.state = 'queued'")
_LEASED = text("jobs.state IN ('starting', 'running', 'pausing', 'cancelling')")


async def keys_by_turn(session: AsyncSession, lane: str) -> Sequence[str]:
    """The keys that have queued jobs in the lane (NO_KEY for those without one), the next to be served first.

    Nothing is locked: two claims at the same moment may serve one key twice, and the next claim evens it out.
    """
    return (await session.scalars(_by_turn(), {"lane": lane})).all()


async def take_turn(session: AsyncSession, lane: str, key_id: str | None) -> None:
    """Record that the key was served, after all others of the lane. A number, as clocks of hosts differ."""
    newest = select(func.coalesce(func.max(LaneTurnRow.turn), 0) + 1).where(LaneTurnRow.lane == lane)
    insert = upsert(session, LaneTurnRow).values(lane=lane, key_id=key_id or NO_KEY, turn=newest.scalar_subquery())
    primary = [LaneTurnRow.lane, LaneTurnRow.key_id]
    await session.execute(insert.on_conflict_do_update(index_elements=primary, set_={"turn": insert.excluded.turn}))


@cache
def _by_turn() -> Select[str]:
    lane = bindparam("lane", type_=String())
    key = func.coalesce(JobRow.key_id, NO_KEY)
    waiting = select(key.label("key"), func.min(JobRow.id).label("first")).where(_QUEUED, JobRow.lane == lane)
    waiting_of = waiting.group_by(JobRow.key_id).subquery()
    running = select(key.label("key"), func.count().label("jobs")).where(_LEASED, JobRow.lane == lane)
    running_of = running.group_by(JobRow.key_id).subquery()
    turn = and_(LaneTurnRow.lane == lane, LaneTurnRow.key_id == waiting_of.c.key)
    return (
        select(waiting_of.c.key)
        .outerjoin(running_of, running_of.c.key == waiting_of.c.key)
        .outerjoin(LaneTurnRow, turn)
        .order_by(func.coalesce(running_of.c.jobs, 0), func.coalesce(LaneTurnRow.turn, 0), waiting_of.c.first)
    )
