"""The one place where a job's state is written."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.elements import ColumnElement

from app.contracts.states import LEASED, TERMINAL, JobState, Trigger, after
from app.db.clock import utcnow
from app.db.commits import witness
from app.db.rows import EventRow, JobRow
from app.db.signals import WORK, announce
from app.db.writes import rows_changed

_NO_LEASE: Mapping[str, Any] = {"lease_owner": None, "lease_expires": None, "lease_boot": None}


class LostRow(RuntimeError):
    """A row changed under its own lock: the caller did not lock it. A fault of the program."""


async def lock(session: AsyncSession, job_id: str, token: str | None = None) -> JobRow | None:
    """The job with its row locked until the transaction ends (SQLite: the whole database is, since BEGIN
    IMMEDIATE). None if it is not there, or no longer under this token.
    """
    query = select(JobRow).where(JobRow.id == job_id).with_for_update().execution_options(populate_existing=True)
    if token is not None:
        query = query.where(JobRow.lease_token == token)
    return await session.scalar(query)


async def write_state(
    session: AsyncSession,
    job: JobRow,
    trigger: Trigger,
    note: Mapping[str, Any] | None = None,
    **changes: Any,
) -> JobState:
    """Move a locked job along the table of contracts.states; write its `state` event; announce it.

    `changes` are further columns, values or SQL; `note` goes into the event. The lease ends with the leased
    states. Its token stays with an ended job, so that the worker who ended it can say so twice. Raises
    IllegalTransition. What an end means for others is the business of `ends.change`.
    """
    old, token = job.state, job.lease_token
    new = after(old, trigger)
    values: dict[str, Any] = {"state": new, "last_seq": job.last_seq + 1}
    if new not in LEASED:
        values |= _NO_LEASE
        if new not in TERMINAL:
            values["lease_token"] = None
    if new in TERMINAL:
        values["finished_at"] = utcnow()
    values |= changes
    same = (JobRow.id == job.id, JobRow.state == old, JobRow.lease_token.is_not_distinct_from(token))
    guarded = update(JobRow).where(*same)
    guarded = guarded.values(values).execution_options(synchronize_session=False)
    if rows_changed(await session.execute(guarded)) != 1:
        raise LostRow(f"{job.id} is no longer {old.value} under the token that was read")
    for name, value in values.items():
        if not isinstance(value, ColumnElement):
            set_committed_value(job, name, value)
    await _say(session, job, note)
    return new


async def _say(session: AsyncSession, job: JobRow, note: Mapping[str, Any] | None) -> None:
    data = {"state": job.state.value, "attempt": job.attempt, **(note or {})}
    if job.state in TERMINAL and job.state is not JobState.SUCCEEDED and job.checkpoint is not None:
        data["kept"] = {"checkpoint": job.checkpoint, "step": job.checkpoint_step}  # what a retry can start from
    await write_event(session, job.id, job.last_seq, data)
    announce(session, job.id)
    if job.state is JobState.QUEUED or job.state is JobState.SUCCEEDED:
        announce(session, WORK)


async def write_event(session: AsyncSession, job_id: str, seq: int, data: Mapping[str, Any]) -> None:
    """A `state` event, which also proves that its transaction was committed."""
    time = utcnow()
    await session.execute(insert(EventRow).values(job_id=job_id, seq=seq, type="state", data=dict(data), time=time))
    witness_event(session, job_id, seq, time)


def witness_event(session: AsyncSession, job_id: str, seq: int, time: datetime) -> None:
    """The event of this number may be another's, if this transaction came to nothing; not at the same microsecond."""
    mine = (EventRow.job_id == job_id, EventRow.seq == seq, EventRow.time == time)
    witness(session, select(EventRow.seq).where(*mine))
