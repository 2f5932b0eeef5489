"""Which workers there are: each renews a lease with what it says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.wire.workers import WorkerFacts
from app.db.clock import BootId, LeaseClock, utcnow
from app.db.engine import Database
from app.db.rows import WorkerRow
from app.db.writes import upsert

SHOWN: Final = timedelta(days=1)
"""How long a worker that is gone without a word is still shown."""


@dataclass(frozen=True)
class KnownWorker:
    """A worker, and whether its lease is valid."""

    owner: str
    facts: Mapping[str, Any]
    seen_at: datetime
    is_alive: bool


async def renew(database: Database, owner: str, facts: WorkerFacts, seconds: float) -> None:
    """Say that a worker is there, for so many seconds from now on."""
    values = {
        "facts": facts.model_dump(mode="json"),
        "lease_expires": LeaseClock() + seconds,
        "lease_boot": BootId(),
        "seen_at": utcnow(),
    }
    async with database.write(short=True) as session:
        insert = upsert(session, WorkerRow).values(owner=owner, **values)
        await session.execute(insert.on_conflict_do_update(index_elements=["owner"], set_=values))


async def leave(database: Database, owner: str) -> None:
    """The worker has ended, or is dead."""
    async with database.write(short=True) as session:
        await session.execute(delete(WorkerRow).where(WorkerRow.owner == owner))


async def owners(database: Database) -> list[str]:
    """All workers, dead or alive."""
    async with database.read() as session:
        return list(await session.scalars(select(WorkerRow.owner)))


async def known(session: AsyncSession) -> list[KnownWorker]:
    """All workers, those that started last first."""
    alive = (WorkerRow.lease_expires >= LeaseClock()) & (WorkerRow.lease_boot == BootId())
    query = select(WorkerRow.owner, WorkerRow.facts, WorkerRow.seen_at, alive)
    found = [KnownWorker(*row) for row in (await session.execute(query)).all()]
    return sorted(found, key=lambda each: str(each.facts.get("started_at")), reverse=True)


async def purge(session: AsyncSession) -> None:
    """Forget the workers that were seen last long ago."""
    await session.execute(delete(WorkerRow).where(WorkerRow.seen_at < utcnow() - SHOWN))
