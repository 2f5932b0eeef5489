"""Claiming a job from the queue, and beginning it.

Keys share a lane (`keys.turns`); of the jobs of one key the highest priority goes first, and of those the oldest.
"""

import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from sqlalchemy import Select, bindparam, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.contracts.states import LEASED, JobState, Trigger
from app.db.base import json_text
from app.db.clock import BootId, LeaseClock, utcnow
from app.db.engine import Database
from app.db.rows import DatasetRow, JobInputRow, JobRow, ModelRow
from app.queue.keys import turns
from app.queue.records import Claim, Lane
from app.queue.transitions import lock, write_state


async def claim(
    database: Database, owner: str, lane: Lane, device: str, lease_seconds: float, extras: tuple[str, ...]
) -> Claim | None:
    """Claim the next claimable job of a lane for a worker that has these extras."""
    if database.dialect == "sqlite" and not await _anything(database, lane, extras):
        return None  # polling an empty queue must not take the write lock
    async with database.write(short=True) as session:
        for key in await turns.keys_by_turn(session, lane):
            job = await session.scalar(_next_of(lane, extras, has_key=key != turns.NO_KEY), {"key": key})
            if job is not None:
                await turns.take_turn(session, lane, job.key_id)
                return await _take(session, job, owner, device, lease_seconds)
    return None


async def _anything(database: Database, lane: Lane, extras: tuple[str, ...]) -> bool:
    async with database.read() as session:
        return await session.scalar(_claimable(lane, extras).with_only_columns(JobRow.id).limit(1)) is not None


@cache
def _next_of(lane: Lane, extras: tuple[str, ...], *, has_key: bool) -> Select[JobRow]:
    """The next job of the key `:key`, locked; those that another claim has locked are passed over."""
    of_key = JobRow.key_id == bindparam("key") if has_key else JobRow.key_id.is_(None)
    first = _claimable(lane, extras).where(of_key).order_by(JobRow.queue_rank, JobRow.id).limit(1)
    return first.with_for_update(skip_locked=True, of=JobRow)


@cache
def _claimable(lane: Lane, extras: tuple[str, ...]) -> Select[JobRow]:
    """The queued jobs whose inputs are ready. The state is spelt as in the partial index.

    Built once a lane: putting the statement together takes longer than running it.
    """
    upstream = aliased(JobRow)
    waits = (
        select(JobInputRow.id)
        .outerjoin(ModelRow, ModelRow.id == JobInputRow.model_id)
        .outerjoin(DatasetRow, DatasetRow.id == JobInputRow.dataset_id)
        .outerjoin(upstream, upstream.id == JobInputRow.upstream_id)
        .where(
            JobInputRow.job_id == JobRow.id,
            JobInputRow.role != "subject",
            or_(ModelRow.state != "ready", DatasetRow.state != "ready", upstream.state != JobState.SUCCEEDED),
        )
        .exists()
    )
    queued = text("jobs.state = 'queued'")
    fits = or_(JobRow.extra.is_(None), JobRow.extra.in_(extras))
    return select(JobRow).where(queued, JobRow.lane == lane, fits, ~waits)


async def _take(session: AsyncSession, job: JobRow, owner: str, device: str, lease_seconds: float) -> Claim:
    token = str(uuid.uuid4())
    await write_state(
        session,
        job,
        Trigger.CLAIM,
        {"device": device},
        attempt=job.attempt + 1,
        device=device,
        lease_owner=owner,
        lease_token=token,
        lease_expires=LeaseClock() + lease_seconds,
        lease_boot=BootId(),
    )
    return Claim(
        job_id=job.id,
        attempt=job.attempt,
        token=token,
        kind=job.kind,
        lane=cast(Lane, job.lane),
        project_id=job.project_id,
        spec=json_text(job.spec),
        resolved_spec=None if job.resolved_spec is None else json_text(job.resolved_spec),
        threads=job.threads,
        crashes=job.crashes,
        checkpoint=job.checkpoint,
        checkpoint_from=job.checkpoint_from,
    )


async def begin(database: Database, claim: Claim, resolved_spec: Mapping[str, Any]) -> bool:
    """Change from starting to running. A job that is to be paused or cancelled meanwhile keeps that state."""
    async with database.write(short=True) as session:
        job = await lock(session, claim.job_id, claim.token)
        if job is None or job.state not in LEASED:
            return False
        first: dict[str, Any] = {}
        if job.resolved_spec is None:
            first["resolved_spec"] = dict(resolved_spec)
        if job.started_at is None:
            first["started_at"] = utcnow()
        if job.state is JobState.STARTING:
            await write_state(session, job, Trigger.BEGIN, None, **first)
        elif first:
            frozen = update(JobRow).where(JobRow.id == job.id, JobRow.lease_token == claim.token)
            await session.execute(frozen.values(first))
        return True
