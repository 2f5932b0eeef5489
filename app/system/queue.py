"""The queue and the workers, from the database."""

from collections import Counter
from collections.abc import Mapping
from typing import Final, get_args

from pydantic import TypeAdapter
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import LEASED, JobState
from app.db.rows import JobRow
from app.queue.records import Lane
from app.queue.workers import presence
from app.queue.workers.presence import KnownWorker
from app.system.schemas import LaneCounts, Queue, ShownWorker, SlotCounts

# Spelt as in the partial indexes ix_jobs_open and ix_jobs_leases, so that they are used.
_OPEN = text("jobs.state IN ('queued', 'starting', 'running', 'pausing', 'paused', 'cancelling')")
_LEASED = text("jobs.state IN ('starting', 'running', 'pausing', 'cancelling')")
_LANES: Final[tuple[Lane, ...]] = get_args(Lane)
_WORKER: Final = TypeAdapter(ShownWorker)


async def read_queue(session: AsyncSession, project_id: str) -> Queue:
    """The project's jobs that have not ended, by lane, and all workers."""
    open_jobs = select(JobRow.lane, JobRow.state, func.count()).where(_OPEN, JobRow.project_id == project_id)
    found = (await session.execute(open_jobs.group_by(JobRow.lane, JobRow.state))).all()
    counts = Counter({(lane, state): count for lane, state, count in found})
    busy = await _busy(session, project_id)
    workers = [_shown(each, busy) for each in await presence.known(session)]
    return Queue(
        lanes={lane: await _lane(session, project_id, lane, counts) for lane in _LANES}, workers=tuple(workers)
    )


async def _lane(
    session: AsyncSession, project_id: str, lane: Lane, counts: Mapping[tuple[str, JobState], int]
) -> LaneCounts:
    queued = (_OPEN, JobRow.project_id == project_id, JobRow.lane == lane, JobRow.state == JobState.QUEUED)
    oldest = select(JobRow.created_at).where(*queued).order_by(JobRow.id).limit(1)
    return LaneCounts(
        queued=counts.get((lane, JobState.QUEUED), 0),
        running=sum(counts.get((lane, state), 0) for state in LEASED),
        paused=counts.get((lane, JobState.PAUSED), 0),
        oldest_queued_at=await session.scalar(oldest),
    )


async def _busy(session: AsyncSession, project_id: str) -> Counter[tuple[str | None, str]]:
    """How many jobs each worker runs in each lane, by (owner, lane)."""
    names = (JobRow.project_id, JobRow.lease_owner, JobRow.lane)  # by the project SQLite would take another index
    found = (await session.execute(select(*names, func.count()).where(_LEASED).group_by(*names))).all()
    return Counter({(owner, lane): count for project, owner, lane, count in found if project == project_id})


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
