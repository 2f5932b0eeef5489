"""The retention policy of store, database and staging disk, shared by the service and `stillhouse gc`.

Blobs whose last reference was deleted go after `READERS_GRACE`, others that no row refers to after `GRACE`. Rejected
files, answers to Idempotency-Keys and uploads that were never finished go after `kept_hours`. Events and metrics of
ended jobs, and notifications, go after the days of their settings. Whatever a model, dataset or job refers to stays.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.access import sessions
from app.db.clock import utcnow
from app.db.rows import EventRow, MetricRow
from app.http.services import Services
from app.queue import idempotency
from app.queue.workers import presence
from app.retention import blobs, history, rejected_files, staged_uploads


@dataclass(frozen=True)
class StaleItem:
    """Something that is deleted: its kind (`blob`, `upload`, `events` or `metrics` of a job, `notifications`, or a kind
    of a worker), name and size. Rows have the size 0: theirs is not known. Something that is kept for a time has
    the time (ISO 8601, UTC) at which it may be deleted.
    """

    kind: str
    name: str
    bytes: int
    kept_until: str | None = None


class _Rollback(Exception):
    """Rolls back the transaction of a dry run."""


async def find_stale(services: Services) -> list[StaleItem]:
    """What `collect` would delete now; nothing is changed."""
    stale: list[StaleItem] = []
    try:
        async with services.database.write() as session:
            await _delete_expired_rows(services, session)
            stale += await _old_rows(services, session)
            stale += [StaleItem("blob", sha256, size) for sha256, size in await blobs.collectable(session)]
            raise _Rollback
    except _Rollback:
        pass
    return [*stale, *(StaleItem("upload", path.name, size) for path, size in await _unfinished_uploads(services))]


async def find_kept(services: Services) -> list[StaleItem]:
    """What nothing refers to any more and is kept for a time."""
    async with services.database.read() as session:
        waiting = await blobs.waiting(session)
    return [StaleItem("blob", sha256, size, until.isoformat(timespec="seconds")) for sha256, size, until in waiting]


async def collect(services: Services) -> None:
    """Delete expired rows, old rows of ended jobs, unreferenced blobs and unfinished uploads.

    Safe while any number of processes publish, claim and collect.
    """
    async with services.database.write() as session:
        await _delete_expired_rows(services, session)
    for table, before in _histories(services).values():
        await history.delete_history(services.database, table, before)
    await history.delete_notifications(services.database, _days_ago(services.settings.outbox_kept_days))
    await blobs.collect_all(services.database, services.store)
    for path, _ in await _unfinished_uploads(services):
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _kept(services: Services) -> timedelta:
    return timedelta(hours=services.settings.kept_hours)


async def _delete_expired_rows(services: Services, session: AsyncSession) -> None:
    kept = _kept(services)
    await idempotency.purge(session, kept)
    await sessions.purge(session)
    await presence.purge(session)
    await rejected_files.delete_rejected_files(session, utcnow() - kept)


def _days_ago(days: float) -> datetime:
    return utcnow() - timedelta(days=days)


def _histories(services: Services) -> dict[str, tuple[history.History, datetime]]:
    """What jobs leave in tables for a time: kind -> table, and the end before which a job's rows are deleted."""
    settings = services.settings
    return {
        "events": (EventRow, _days_ago(settings.events_kept_days)),
        "metrics": (MetricRow, _days_ago(settings.metrics_kept_days)),
    }


async def _old_rows(services: Services, session: AsyncSession) -> list[StaleItem]:
    items = [
        StaleItem(kind, job_id, 0)
        for kind, (table, before) in _histories(services).items()
        for job_id in await history.jobs_with(session, table, before)
    ]
    days = services.settings.outbox_kept_days
    count = await history.count_notifications(session, _days_ago(days))
    return [*items, StaleItem("notifications", f"{count} older than {days:g} days", 0)] if count else items


async def _unfinished_uploads(services: Services) -> list[tuple[Path, int]]:
    seconds = _kept(services).total_seconds()
    return await asyncio.to_thread(staged_uploads.unfinished, services.settings.staging_dir, seconds)
