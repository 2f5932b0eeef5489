"""What jobs that ended long ago leave besides reports, files and students: events and metrics; and old notifications.

Deleted in small transactions, so that the writer of SQLite is free in between. Rows of a job go under the lock of the
job, so that its own deletion does not wait in a circle; a job that is locked is left to the next time.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import TERMINAL
from app.db.engine import Database
from app.db.rows import EventRow, JobRow, MetricRow, OutboxRow
from app.db.writes import rows_changed

History = type[EventRow] | type[MetricRow]
BATCH: Final = 5000
"""Most rows that one transaction deletes."""
_JOBS: Final = 100
"""Jobs that are looked up at a time."""


async def jobs_with(
    session: AsyncSession, table: History, before: datetime, after: str = "", limit: int | None = None
) -> Sequence[str]:
    """The jobs that ended before that time and still have rows in the table, by their ids, which follow `after`."""
    rows = select(table.job_id).where(table.job_id == JobRow.id).exists()
    ended = (JobRow.finished_at < before, JobRow.state.in_(TERMINAL), JobRow.id > after)
    query = select(JobRow.id).where(*ended, rows).order_by(JobRow.id).limit(limit)
    return (await session.scalars(query)).all()


async def delete_history(database: Database, table: History, before: datetime) -> None:
    """Delete the rows in the table of all jobs that ended before that time."""
    last = ""
    while True:
        async with database.read() as session:
            jobs = await jobs_with(session, table, before, last, _JOBS)
        for job_id in jobs:
            while await _delete_some(database, table, job_id) == BATCH:
                pass
        if len(jobs) < _JOBS:
            return
        last = jobs[-1]


async def _delete_some(database: Database, table: History, job_id: str) -> int:
    """How many rows were deleted: at most BATCH, and none of a job that is locked."""
    row = (table.job_id, table.seq) if table is EventRow else (MetricRow.job_id, MetricRow.series, MetricRow.step)
    async with database.write() as session:
        job = select(JobRow.id).where(JobRow.id == job_id)
        if await session.scalar(job.with_for_update(skip_locked=True)) is None:
            return 0
        some = select(*row).where(table.job_id == job_id).limit(BATCH)
        gone = delete(table).where(table.job_id == job_id, tuple_(*row).in_(some))
        return rows_changed(await session.execute(gone.execution_options(synchronize_session=False)))


async def count_notifications(session: AsyncSession, before: datetime) -> int:
    """How many notifications are older."""
    return await session.scalar(select(func.count()).select_from(OutboxRow).where(_older(before))) or 0


async def delete_notifications(database: Database, before: datetime) -> None:
    """Delete the notifications that are older, delivered or not."""
    deleted = BATCH
    while deleted == BATCH:
        some = select(OutboxRow.id).where(_older(before)).limit(BATCH).with_for_update(skip_locked=True)
        gone = delete(OutboxRow).where(OutboxRow.id.in_(some)).execution_options(synchronize_session=False)
        async with database.write() as session:
            deleted = rows_changed(await session.execute(gone))


def _older(before: datetime) -> ColumnElement[bool]:
    return OutboxRow.created_at < before
