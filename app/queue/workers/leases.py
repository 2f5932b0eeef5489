"""Leases: their renewal, and the release of jobs whose worker is dead."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.problems import JobError
from app.contracts.states import LEASED, JobState, Trigger
from app.db.clock import BootId, LeaseClock
from app.db.engine import Database
from app.db.rows import JobRow
from app.queue.ends import change
from app.queue.records import Claim
from app.queue.transitions import lock

CRASH_LIMIT = 3
"""Crashes without a new checkpoint after which a job fails."""

# Spelt as in the partial index ix_jobs_leases, so that it is used.
_LEASED = text("jobs.state IN ('starting', 'running', 'pausing', 'cancelling')")


async def renew(database: Database, claims: Sequence[Claim], lease_seconds: float) -> dict[str, JobState]:
    """Extend leases. An expired lease that was not swept yet is still this worker's, because no other has it."""
    if not claims:
        return {}
    query = (
        update(JobRow)
        .where(_LEASED, _of(claims))
        .values(lease_expires=LeaseClock() + lease_seconds, lease_boot=BootId())
        .returning(JobRow.id, JobRow.state)
        .execution_options(synchronize_session=False)
    )
    async with database.write(short=True) as session:
        return dict((await session.execute(query)).all())


async def held(database: Database, claims: Sequence[Claim]) -> dict[str, JobState]:
    """The states of claims that are still held."""
    if not claims:
        return {}
    async with database.read() as session:
        query = select(JobRow.id, JobRow.state).where(_LEASED, _of(claims))
        return dict((await session.execute(query)).all())


def _of(claims: Sequence[Claim]) -> ColumnElement[bool]:
    """Tokens are unique for each claim, so a token identifies job and attempt; the id finds the row."""
    return JobRow.id.in_([claim.job_id for claim in claims]) & JobRow.lease_token.in_([c.token for c in claims])


async def lose(database: Database, claim: Claim, error: JobError) -> bool:
    """Record a crash of the child."""
    async with database.write(short=True) as session:
        job = await lock(session, claim.job_id, claim.token)
        if job is None or job.state not in LEASED:
            return False
        await _lose(session, job, error)
        return True


async def _lose(session: AsyncSession, job: JobRow, error: JobError) -> None:
    crashes = job.crashes + 1
    if crashes >= CRASH_LIMIT and job.state is not JobState.CANCELLING:
        final = error.model_copy(
            update={
                "error_class": "infrastructure",
                "message": f"{error.message} ({crashes} unclean ends without a new checkpoint)",
            }
        )
        await change(session, job, Trigger.FAIL, error=final, crashes=crashes)
    else:
        await change(session, job, Trigger.LOSE, error=error, crashes=crashes)


async def lose_owner(database: Database, owner: str) -> int:
    """Release the jobs of a dead owner."""
    dead = JobRow.lease_owner == owner
    return await _release(database, dead, "worker_died", "its worker died")


async def owners(database: Database) -> list[str]:
    """The owners of leased jobs."""
    async with database.read() as session:
        names = await session.scalars(select(JobRow.lease_owner).where(_LEASED).distinct())
        return sorted(owner for owner in names if owner is not None)


async def sweep(database: Database) -> int:
    """Release jobs whose lease has expired."""
    expired = or_(JobRow.lease_expires < LeaseClock(), JobRow.lease_boot != BootId())
    return await _release(database, expired, "lease_lost", "its worker stopped renewing the lease")


async def _release(database: Database, gone: ColumnElement[bool], code: str, reason: str) -> int:
    """Release every leased job for which `gone` holds.

    Each has a transaction of its own, which checks the condition again under the row's lock. Rows that another process
    has locked are skipped.
    """
    async with database.read() as session:
        ids = (await session.scalars(select(JobRow.id).where(_LEASED, gone).order_by(JobRow.id))).all()
    released = 0
    for job_id in ids:
        async with database.write(short=True) as session:
            query = select(JobRow).where(JobRow.id == job_id, _LEASED, gone)
            job = await session.scalar(query.with_for_update(skip_locked=True))
            if job is not None:
                message = f"attempt {job.attempt}: {reason}"
                error = JobError.model_validate({"code": code, "class": "infrastructure", "message": message})
                await _lose(session, job, error)
                released += 1
    return released
