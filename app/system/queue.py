"""The queue and the workers, from the database."""

from collections import Counter
from collections.abc import Mapping
from typing import Final, get_args

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import LEASED, JobState
from app.db.rows import JobRow
from app.queue.records import Lane
from app.queue.workers import presence
from app.queue.workers.presence import KnownWorker
from app.system.schemas import LaneCounts, Queue, ShownWorker, SlotCounts

_LANES: Final[tuple[Lane, ...]] = get_args(Lane)
_WORKER: Final = TypeAdapter(ShownWorker)


async def read_queue(session: AsyncSession, project_id: str) -> Queue:
    """The project's jobs that have not ended, by lane, and all workers."""
    lanes = {lane: await _counts(session, project_id, lane) for lane in _LANES}
    busy = await _busy(session, project_id)
    workers = [_shown(each, busy) for each in await presence.known(session)]
    return Queue(lanes=lanes, workers=tuple(workers))


async def _counts(session: AsyncSession, project_id: str, lane: Lane) -> LaneCounts:
    jobs = (JobRow.project_id == project_id, JobRow.lane == lane)
    queued = select(func.count(), func.min(JobRow.created_at)).where(JobRow.state == JobState.QUEUED, *jobs)
    count, oldest = (await session.execute(queued)).one()
    running = select(func.count()).where(JobRow.state.in_(LEASED), *jobs)
    paused = select(func.count()).where(JobRow.state == JobState.PAUSED, *jobs)
    return LaneCounts(
        queued=count,
        running=await session.scalar(running) or 0,
        paused=await session.scalar(paused) or 0,
        oldest_queued_at=oldest,
    )


async def _busy(session: AsyncSession, project_id: str) -> Counter[tuple[str | None, str]]:
    """How many jobs each worker runs in each lane, by (owner, lane)."""
    held = select(JobRow.lease_owner, JobRow.lane, func.count()).where(JobRow.state.in_(LEASED))
    held = held.where(JobRow.project_id == project_id).group_by(JobRow.lease_owner, JobRow.lane)
    return Counter({(owner, lane): count for owner, lane, count in (await session.execute(held)).all()})


def _shown(worker: KnownWorker, busy: Mapping[tuple[str | None, str], int]) -> ShownWorker:
    slots: dict[str, int] = worker.facts.get("slots") or {}
    return _WORKER.validate_python(
        {
            **worker.facts,
            "id": worker.owner,
            "alive": worker.is_alive,
            "seen_at": worker.seen_at,
            "busy": {
                lane: SlotCounts(total=total, busy=busy.get((worker.owner, lane), 0)) for lane, total in slots.items()
            },
        }
    )
