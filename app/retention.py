"""What store, database and staging disk are rid of, and when: one policy for the service and `stillhouse gc`.

Bytes that nobody refers to go after the grace that publishing needs (`app.queue.blobs`); rejected uploads, answers to
Idempotency-Keys and uploads whose process died after `kept_hours`. What a model, dataset or job refers to stays.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clock import utcnow
from app.http import stored
from app.http.services import Services
from app.queue import idempotency
from app.queue.blobs import collectable


@dataclass(frozen=True)
class Stale:
    """Something that goes: `kind` is blob or upload."""

    kind: str
    name: str
    bytes: int


class _LookedOnly(Exception):
    """Takes back what a look did."""


async def stale(services: Services) -> list[Stale]:
    """What `collect` would remove now; nothing is changed."""
    found: list[Stale] = []
    try:
        async with services.database.write() as session:
            await _forget(services, session)
            found += [Stale("blob", sha256, size) for sha256, size in await collectable(session)]
            raise _LookedOnly
    except _LookedOnly:
        pass
    uploads = await asyncio.to_thread(services.staging.abandoned, _kept(services).total_seconds())
    return [*found, *(Stale("upload", path.name, size) for path, size in uploads)]


async def collect(services: Services) -> None:
    """Forget what has been kept long enough, then remove the bytes that nobody refers to. Safe beside any number of
    processes that publish, claim and collect.
    """
    async with services.database.write() as session:
        await _forget(services, session)
    await services.blobs.collect_all()
    for path, _ in await asyncio.to_thread(services.staging.abandoned, _kept(services).total_seconds()):
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _kept(services: Services) -> timedelta:
    return timedelta(hours=services.settings.kept_hours)


async def _forget(services: Services, session: AsyncSession) -> None:
    kept = _kept(services)
    await idempotency.purge(session, kept)
    await stored.drop_rejected_files(session, utcnow() - kept)
