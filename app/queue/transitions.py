"""State transitions of jobs. Nothing else writes a job's state."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.elements import ColumnElement

from app.contracts.states import LEASED, TERMINAL, JobState, Trigger, after
from app.db.clock import utcnow
from app.db.rows import EventRow, JobRow
from app.db.signals import WORK, announce
from app.db.transactions.commits import set_commit_check
from app.db.writes import rows_changed

_NO_LEASE: Mapping[str, Any] = {"lease_owner": None, "lease_expires": None, "lease_boot": None}


class LostRow(RuntimeError):
    """A row changed although the caller should have locked it: a bug."""


async def lock(session: AsyncSession, job_id: str, token: str | None = None) -> JobRow | None:
    """The job with its row locked until the transaction ends (on SQLite the whole database is locked). None if it does
    not exist, or no longer has this token.
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
    """Apply a transition of `contracts.states` to a locked job, write its `state` event and announce it.

    `changes` are further columns, as values or SQL; `note` is added to the event. The lease ends with the leased
    states. An ended job keeps its token, so that its worker can repeat the call that ended it. Raises
    IllegalTransition. Effects on other rows are left to `ends.change`.
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
    await _write_state_event(session, job, note)
    return new


async def _write_state_event(session: AsyncSession, job: JobRow, note: Mapping[str, Any] | None) -> None:
    data = {"state": job.state.value, "attempt": job.attempt, **(note or {})}
    if job.state in TERMINAL and job.state is not JobState.SUCCEEDED and job.checkpoint is not None:
        data["kept"] = {"checkpoint": job.checkpoint, "step": job.checkpoint_step}  # what a retry can start from
    await write_event(session, job.id, job.last_seq, data)
    announce(session, job.id)
    if job.state is JobState.QUEUED or job.state is JobState.SUCCEEDED:
        announce(session, WORK)


async def write_event(session: AsyncSession, job_id: str, seq: int, data: Mapping[str, Any]) -> None:
    """Insert a `state` event, which also proves that its transaction was committed."""
    time = utcnow()
    await session.execute(insert(EventRow).values(job_id=job_id, seq=seq, type="state", data=dict(data), time=time))
    set_event_as_commit_check(session, job_id, seq, time)


def set_event_as_commit_check(session: AsyncSession, job_id: str, seq: int, time: datetime) -> None:
    """Use an event as proof of the commit.

    If the transaction fails, another may write an event with this number, but not in the same microsecond.
    """

    def mine() -> Select[Any]:
        return select(EventRow.seq).where(EventRow.job_id == job_id, EventRow.seq == seq, EventRow.time == time)

    set_commit_check(session, mine)
