"""The retention policy of store, database and staging disk, shared by the service and `stillhouse gc`.

Blobs that no row refers to go after `blobs.GRACE`. Rejected files, answers to Idempotency-Keys and uploads that were
never finished go after `kept_hours`. Whatever a model, dataset or job refers to stays.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clock import utcnow
from app.http.services import Services
from app.queue import idempotency
from app.retention import blobs, rejected_files, staged_uploads


@dataclass(frozen=True)
class StaleItem:
    """Something that is deleted: its kind (`blob`, `upload`, or a kind of a worker), name and size."""

    kind: str
    name: str
    bytes: int


class _Rollback(Exception):
    """Rolls back the transaction of a dry run."""


async def find_stale(services: Services) -> list[StaleItem]:
    """What `collect` would delete now; nothing is changed."""
    stale: list[StaleItem] = []
    try:
        async with services.database.write() as session:
            await _delete_expired_rows(services, session)
            stale += [StaleItem("blob", sha256, size) for sha256, size in await blobs.collectable(session)]
            raise _Rollback
    except _Rollback:
        pass
    return [*stale, *(StaleItem("upload", path.name, size) for path, size in await _unfinished_uploads(services))]


async def collect(services: Services) -> None:
    """Delete expired rows, unreferenced blobs and unfinished uploads.

    Safe while any number of processes publish, claim and collect.
    """
    async with services.database.write() as session:
        await _delete_expired_rows(services, session)
    await blobs.collect_all(services.database, services.store)
    for path, _ in await _unfinished_uploads(services):
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _kept(services: Services) -> timedelta:
    return timedelta(hours=services.settings.kept_hours)


async def _delete_expired_rows(services: Services, session: AsyncSession) -> None:
    kept = _kept(services)
    await idempotency.purge(session, kept)
    await rejected_files.delete_rejected_files(session, utcnow() - kept)


async def _unfinished_uploads(services: Services) -> list[tuple[Path, int]]:
    seconds = _kept(services).total_seconds()
    return await asyncio.to_thread(staged_uploads.unfinished, services.settings.staging_dir, seconds)
