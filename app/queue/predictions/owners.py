"""Workers that have the lane `predict`: a lease each, which is that of all that they have claimed."""

from sqlalchemy import delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.wire.predictions import Reply
from app.db.clock import BootId, LeaseClock
from app.db.engine import Database
from app.db.rows import LaneOwnerRow, PredictionRow
from app.db.signals import announce
from app.db.writes import upsert
from app.queue.predictions import asking
from app.queue.predictions.records import PREDICTIONS

MOST_ATTEMPTS = 2
"""How many workers may die of a request before it ends with an error."""
_LOST = Reply(
    status=503,
    code="prediction_lost",
    detail=f"{MOST_ATTEMPTS} workers died while they had this request: send it again, and read the workers' logs if it "
    "happens again",
)


async def renew(database: Database, owner: str, seconds: float) -> None:
    """Say that a worker answers predictions, for so many seconds from now on."""
    lease = {"lease_expires": LeaseClock() + seconds, "lease_boot": BootId()}
    async with database.write() as session:
        insert = upsert(session, LaneOwnerRow).values(owner=owner, **lease)
        await session.execute(insert.on_conflict_do_update(index_elements=["owner"], set_=lease))


async def leave(database: Database, owner: str) -> None:
    """The worker has ended: what it had claimed is free again, and what it hands back was no attempt: it did not die of
    it.
    """
    own = [PredictionRow.claimed_by == owner, PredictionRow.reply.is_(None)]
    async with database.write() as session:
        await session.execute(update(PredictionRow).where(*own).values(attempt=PredictionRow.attempt - 1))
        await session.execute(delete(LaneOwnerRow).where(LaneOwnerRow.owner == owner))
        await _release(session)


async def owners(database: Database) -> list[str]:
    """All workers that have the lane, dead or alive."""
    async with database.read() as session:
        return list(await session.scalars(select(LaneOwnerRow.owner)))


async def is_served(session: AsyncSession) -> bool:
    """Whether a worker that is alive has the lane."""
    alive = select(LaneOwnerRow.owner).where(LaneOwnerRow.lease_expires >= LeaseClock())
    return await session.scalar(alive.where(LaneOwnerRow.lease_boot == BootId()).limit(1)) is not None


async def sweep(database: Database) -> None:
    """Remove workers whose lease has expired, free what they had claimed, and delete expired requests."""
    if not await _anything(database):
        return
    async with database.write() as session:
        expired = or_(LaneOwnerRow.lease_expires < LeaseClock(), LaneOwnerRow.lease_boot != BootId())
        await session.execute(delete(LaneOwnerRow).where(expired))
        await _release(session)
        await asking.remove_expired(session)


async def _anything(database: Database) -> bool:
    """Whether there is a request, or a worker whose lease has expired: else no write lock is taken."""
    expired = select(LaneOwnerRow.owner).where(
        or_(LaneOwnerRow.lease_expires < LeaseClock(), LaneOwnerRow.lease_boot != BootId())
    )
    async with database.read() as session:
        return (
            await session.scalar(select(PredictionRow.id).limit(1)) is not None
            or await session.scalar(expired.limit(1)) is not None
        )


async def _release(session: AsyncSession) -> None:
    """Free the requests of workers that are gone; those that were tried too often are answered with an error."""
    gone = [
        PredictionRow.claimed_by.is_not(None),
        PredictionRow.reply.is_(None),
        PredictionRow.claimed_by.not_in(select(LaneOwnerRow.owner)),
    ]
    query = select(PredictionRow.id, PredictionRow.asker, PredictionRow.attempt).where(*gone)
    query = query.order_by(PredictionRow.id).with_for_update(skip_locked=True)
    for identity, asker, attempt in (await session.execute(query)).all():
        tried = attempt >= MOST_ATTEMPTS
        values = {"reply": _LOST.model_dump(mode="json")} if tried else {"claimed_by": None}
        await session.execute(update(PredictionRow).where(PredictionRow.id == identity, *gone).values(values))
        announce(session, asker if tried else PREDICTIONS, urgent=True)
