"""Collecting blobs that no row refers to. `app.queue.blobs` describes the protocol and publishes.

Collecting marks rows as `deleting` and commits, then deletes the bytes under the row's lock, and only if the row is
still `deleting`. Blobs that were published or referred to within GRACE are never collected, except those that were
released more than READERS_GRACE ago.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clock import utcnow
from app.db.engine import Database
from app.db.rows import BlobRow
from app.db.writes import rows_changed
from app.queue.blobs import GRACE, READERS_GRACE, unreferenced
from app.storage.store import BlobStore


async def collect(database: Database, store: BlobStore, grace: timedelta = GRACE, limit: int = 1000) -> int:
    """Delete up to `limit` blobs that no row refers to and that were not used for `grace`; how many there were."""
    async with database.write() as session:
        marked = await _mark(session, grace, limit)
    removed = 0
    for sha256 in marked:
        async with database.write() as session:
            removed += await _delete(session, store, sha256)
    return removed


async def collect_all(database: Database, store: BlobStore, grace: timedelta = GRACE) -> int:
    """`collect` until nothing is left to delete."""
    removed = 0
    while count := await collect(database, store, grace):
        removed += count
    return removed


async def collectable(session: AsyncSession, grace: timedelta = GRACE) -> list[tuple[str, int]]:
    """(digest, bytes) of what `collect` would delete now."""
    rows = select(BlobRow.sha256, BlobRow.bytes).where(_is_old(grace), unreferenced())
    return [(row.sha256, row.bytes) for row in (await session.execute(rows.order_by(BlobRow.sha256))).all()]


async def waiting(session: AsyncSession) -> list[tuple[str, int, datetime]]:
    """(digest, bytes, until when they are kept) of what no row refers to and `collect` would not delete yet."""
    rows = select(BlobRow).where(~_is_old(GRACE), BlobRow.state != "deleting", unreferenced())
    found = (await session.scalars(rows.order_by(BlobRow.sha256))).all()
    return [
        (row.sha256, row.bytes, row.last_used + (READERS_GRACE if row.state == "released" else GRACE)) for row in found
    ]


async def _mark(session: AsyncSession, grace: timedelta, limit: int) -> list[str]:
    old = select(BlobRow.sha256).where(_is_old(grace), unreferenced()).limit(limit)
    # Rows that another transaction uses are not waited for: two that wait for each other's rows would be a deadlock.
    free = (await session.scalars(old.with_for_update(skip_locked=True, key_share=True))).all()
    # The conditions are repeated: a transaction may have committed between the snapshot of the query and its lock.
    statement = (
        update(BlobRow)
        .where(BlobRow.sha256.in_(free), _is_old(grace), unreferenced())
        .values(state="deleting")
        .returning(BlobRow.sha256)
        .execution_options(synchronize_session=False)
    )
    return list((await session.scalars(statement)).all())


async def _delete(session: AsyncSession, store: BlobStore, sha256: str) -> bool:
    marked = select(BlobRow.sha256).where(BlobRow.sha256 == sha256, BlobRow.state == "deleting")
    if await session.scalar(marked.with_for_update()) is None:
        return False  # published again in the meantime
    # A reference may have been committed while the row was being marked; under the lock none can be added.
    kept = update(BlobRow).where(BlobRow.sha256 == sha256, ~unreferenced()).values(state="stored")
    if rows_changed(await session.execute(kept.execution_options(synchronize_session=False))):
        return False
    await session.execute(delete(BlobRow).where(BlobRow.sha256 == sha256))
    await store.delete(sha256)
    return True


def _is_old(grace: timedelta) -> ColumnElement[bool]:
    now = utcnow()
    released = (BlobRow.state == "released") & (BlobRow.last_used < now - min(grace, READERS_GRACE))
    return released | (BlobRow.last_used < now - grace)
