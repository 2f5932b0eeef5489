"""Retries of failed and cancelled jobs, and how long the checkpoints of such jobs are kept.

Checkpoints are on a worker's disk; the `checkpoint` column of the old job's row states whether they exist. That row's
lock orders retries and retention: a retry reads the column and inserts its own row, `discard` checks that there is no
such row and only then clears the column. Folders are removed after that, never before.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.contracts.specs.jobs import ANY_SPEC
from app.contracts.states import LEASED, TERMINAL, JobState
from app.db.base import json_text
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.rows import DatasetRow, JobInputRow, JobRow, ModelRow
from app.db.signals import announce
from app.queue import submission
from app.queue.ended.unfinished import unfinished
from app.queue.records import Claim, NewJob, NotRetryable
from app.queue.transitions import lock


async def retry(
    session: AsyncSession, job_id: str, *, from_checkpoint: bool, key_id: str | None, threads: int | None
) -> JobRow | None:
    """Submit the spec of an old job as a new one, optionally with its checkpoints."""
    await _share_inputs(session, job_id)
    old = await _shared(session, job_id)
    if old is None:
        return None
    _check(old)
    spec = ANY_SPEC.validate_json(json_text(old.spec), extra="ignore")
    source = await _source(session, old) if from_checkpoint else None
    job = NewJob(
        spec=spec,
        project_id=old.project_id,
        key_id=key_id,
        # Spec and threads stay as they were with the checkpoints, or the student would not be bit-identical.
        threads=threads if source is None else old.threads,
        resolved_spec=None if source is None else old.resolved_spec,
        retry_of=old.id,
        checkpoint_from=source,
        priority=-old.queue_rank,
    )
    return await submission.submit(session, job)


async def _share_inputs(session: AsyncSession, job_id: str) -> None:
    """Share-lock the rows of a job's inputs: resources before jobs, as in `submission`, or a deletion of the job, which
    locks its datasets first, would wait for this transaction and this one for it.
    """
    await session.execute(_inputs(ModelRow, JobInputRow.model_id, job_id))
    await session.execute(_inputs(DatasetRow, JobInputRow.dataset_id, job_id))


def _inputs(
    resource: type[ModelRow] | type[DatasetRow], column: InstrumentedAttribute[str | None], job_id: str
) -> Select[str]:
    named = select(column).where(JobInputRow.job_id == job_id)
    return select(resource.id).where(resource.id.in_(named)).order_by(resource.id).with_for_update(read=True)


async def _shared(session: AsyncSession, job_id: str) -> JobRow | None:
    """The job with its row share-locked: its checkpoints are not discarded before this transaction ends."""
    query = select(JobRow).where(JobRow.id == job_id).with_for_update(read=True)
    return await session.scalar(query.execution_options(populate_existing=True))


def _check(old: JobRow) -> None:
    if old.kind == "inspect":
        raise NotRetryable("inspection", "an inspection is not retried: PATCH its model or dataset to have it again")
    if old.state not in TERMINAL:
        raise NotRetryable("not_finished", unfinished(old.state))
    if old.state is JobState.SUCCEEDED:
        raise NotRetryable("succeeded", "the job has succeeded: submit its spec again to train another student")


async def _source(session: AsyncSession, old: JobRow) -> str:
    """The job whose checkpoints are taken over: the old one, or, if that has none, the one that it continued from."""
    if old.checkpoint is not None:
        return old.id
    earlier = None if old.checkpoint_from is None else await _shared(session, old.checkpoint_from)
    if earlier is not None and earlier.checkpoint is not None:
        return earlier.id
    raise NotRetryable(
        "no_checkpoint",
        "the job has no checkpoint (it never wrote one, or it was kept long enough): retry without `from_checkpoint`",
    )


async def take_over_checkpoints(database: Database, claim: Claim) -> bool:
    """Copy the old job's checkpoint columns. They are not cleared meanwhile, because this job has not ended."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if job is None or job.state not in LEASED:
            return False
        if job.checkpoint is None and job.checkpoint_from is not None:
            old = await session.get_one(JobRow, job.checkpoint_from)
            taken = update(JobRow).where(JobRow.id == job.id, JobRow.lease_token == claim.token)
            await session.execute(
                taken.values(
                    checkpoint=old.checkpoint,
                    checkpoint_sha256=old.checkpoint_sha256,
                    checkpoint_step=old.checkpoint_step,
                )
            )
            announce(session, job.id)
        return True


async def discard(
    database: Database, job_ids: Sequence[str], kept: timedelta, *, dry_run: bool = False
) -> dict[str, bool]:
    """Which of these jobs have ended, and whether their checkpoints may be deleted. A dry run clears no column."""
    if not job_ids:
        return {}
    async with database.read() as session:
        query = select(JobRow.id, JobRow.state, JobRow.checkpoint, JobRow.finished_at)
        rows = (await session.execute(query.where(JobRow.id.in_(job_ids), JobRow.state.in_(TERMINAL)))).all()
    oldest = utcnow() - kept
    found = {}
    for row in rows:
        wanted = row.state is not JobState.SUCCEEDED and row.checkpoint is not None
        if wanted and row.finished_at is not None and row.finished_at < oldest:
            wanted = not await _forget(database, row.id, dry_run=dry_run)
        found[row.id] = not wanted
    return found


async def ended_at(database: Database, job_ids: Sequence[str]) -> dict[str, datetime]:
    """When each of these jobs has ended; those that have not are left out."""
    query = select(JobRow.id, JobRow.finished_at).where(JobRow.id.in_(job_ids), JobRow.finished_at.is_not(None))
    async with database.read() as session:
        return {row.id: row.finished_at for row in (await session.execute(query)).all()}


async def _forget(database: Database, job_id: str, *, dry_run: bool) -> bool:
    """Clear the column unless an unfinished job takes the checkpoints over; whether it is (or would be) cleared."""
    async with database.write() as session:
        await session.execute(select(JobRow.id).where(JobRow.id == job_id).with_for_update())
        needed = exists().where(JobRow.checkpoint_from == job_id, JobRow.state.not_in(TERMINAL))
        if await session.scalar(select(needed)):
            return False
        if not dry_run:
            emptied = update(JobRow).where(JobRow.id == job_id)
            await session.execute(emptied.values(checkpoint=None, checkpoint_sha256=None))
        return True
