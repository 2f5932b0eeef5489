"""Which bytes the blob store holds, and which of them may go.

A blob's row says where it stands:

    writing     somebody is about to put the bytes (or died at it)
    stored      the bytes are there, whole
    deleting    nobody refers to it; its bytes go next

Bytes and row cannot change in one step, so the order protects them. Publishing touches the row first, and takes
a `deleting` one back to `writing`; the bytes are put next; the transaction that makes them visible refers to
the row (foreign key) and marks it `stored`. Collecting marks first and commits, then removes the bytes under
the row's lock, only if it is still `deleting`. What was touched lately is never collected.

A worker shows its claim when it publishes, as with every other write: who has lost the job leaves no bytes either.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import LEASED
from app.db.clock import utcnow
from app.db.commits import witness
from app.db.engine import Database
from app.db.rows import ArtifactRow, BlobRow, FileRow
from app.db.writes import rows_changed, upsert
from app.queue.records import Claim
from app.queue.transitions import lock
from app.storage.store import BlobStore, key_of

GRACE = timedelta(hours=24)
"""How long unreferenced bytes stay: far longer than any upload or job takes from publishing to its transaction."""


class Blobs:
    """The blob store together with its table."""

    def __init__(self, database: Database, store: BlobStore) -> None:
        self._database = database
        self._store = store

    async def publish(self, source: Path, sha256: str, claim: Claim | None = None) -> int:
        """Put a file, whose digest the caller has computed, into the store; the file is gone from `source` then.

        Returns its size. The caller's transaction must call `settle` and refer to the digest within GRACE.
        `claim` is what a worker publishes for. Raises ClaimLost where it is no longer held, and what BlobStore.put
        raises.
        """
        size = (await asyncio.to_thread(source.stat)).st_size
        async with self._database.write() as session:
            if claim is not None and not await _holds(session, claim):
                raise ClaimLost(claim.job_id, claim.attempt)
            await _touch(session, sha256, size)
        await self._store.put(source, sha256)
        return size

    async def collect(self, grace: timedelta = GRACE, limit: int = 1000) -> int:
        """Remove up to `limit` blobs that nobody refers to and that were not touched for `grace`."""
        async with self._database.write() as session:
            marked = await _mark(session, grace, limit)
        removed = 0
        for sha256 in marked:
            async with self._database.write() as session:
                removed += await self._remove(session, sha256)
        return removed

    async def collect_all(self, grace: timedelta = GRACE) -> int:
        """`collect`, until there is nothing left to remove."""
        removed = 0
        while found := await self.collect(grace):
            removed += found
        return removed

    async def _remove(self, session: AsyncSession, sha256: str) -> bool:
        mine = select(BlobRow.sha256).where(BlobRow.sha256 == sha256, BlobRow.state == "deleting")
        if await session.scalar(mine.with_for_update()) is None:
            return False  # published again meanwhile
        # Whoever refers to it now did so while it was being marked; under the lock nobody can.
        kept = update(BlobRow).where(BlobRow.sha256 == sha256, ~_unreferenced()).values(state="stored")
        if rows_changed(await session.execute(kept.execution_options(synchronize_session=False))):
            return False
        await session.execute(delete(BlobRow).where(BlobRow.sha256 == sha256))
        await self._store.delete(sha256)
        return True


async def settle(session: AsyncSession, digests: Sequence[str]) -> None:
    """Mark published blobs as stored, in the transaction whose rows refer to them.

    Raises UnknownBlob for one that was never published, or collected since.
    """
    wanted = set(digests)
    if not wanted:
        return
    statement = (
        update(BlobRow)
        .where(BlobRow.sha256.in_(wanted), BlobRow.state != "deleting")
        .values(state="stored", last_used=utcnow())
        .returning(BlobRow.sha256)
        .execution_options(synchronize_session=False)
    )
    missing = wanted - set((await session.scalars(statement)).all())
    if missing:
        raise UnknownBlob(min(missing))


class UnknownBlob(Exception):
    """Rows were about to refer to bytes that are not in the store."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"expected the blob {sha256} to be published before it is referred to: publish it again")


class ClaimLost(Exception):
    """Another worker may have the job, or it has ended: nothing was written."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(f"{job_id}: attempt {attempt} no longer holds the job, and publishes nothing")


async def _holds(session: AsyncSession, claim: Claim) -> bool:
    job = await lock(session, claim.job_id, claim.token)
    return job is not None and job.state in LEASED


async def _touch(session: AsyncSession, sha256: str, size: int) -> None:
    """Insert the row as writing, or put off its collection; a row being collected is waited for."""
    now = utcnow()
    statement = upsert(session, BlobRow).values(
        sha256=sha256, key=key_of(sha256), bytes=size, state="writing", created_at=now, last_used=now
    )
    await session.execute(statement.on_conflict_do_update(index_elements=[BlobRow.sha256], set_={"last_used": now}))
    taken_back = update(BlobRow).where(BlobRow.sha256 == sha256, BlobRow.state == "deleting")
    await session.execute(taken_back.values(state="writing"))
    witness(session, select(BlobRow.sha256).where(BlobRow.sha256 == sha256, BlobRow.last_used >= now))


async def _mark(session: AsyncSession, grace: timedelta, limit: int) -> list[str]:
    old = select(BlobRow.sha256).where(BlobRow.last_used < utcnow() - grace, _unreferenced()).limit(limit)
    # The conditions stand in the update again: on PostgreSQL it looks anew at a row that it had to wait for.
    statement = (
        update(BlobRow)
        .where(BlobRow.sha256.in_(old), BlobRow.last_used < utcnow() - grace, _unreferenced())
        .values(state="deleting")
        .returning(BlobRow.sha256)
        .execution_options(synchronize_session=False)
    )
    return list((await session.scalars(statement)).all())


async def collectable(session: AsyncSession, grace: timedelta = GRACE) -> list[tuple[str, int]]:
    """(digest, bytes) of what `collect` would remove now."""
    rows = select(BlobRow.sha256, BlobRow.bytes).where(BlobRow.last_used < utcnow() - grace, _unreferenced())
    return [(row.sha256, row.bytes) for row in (await session.execute(rows.order_by(BlobRow.sha256))).all()]


def _unreferenced() -> ColumnElement[bool]:
    in_files = exists().where(FileRow.sha256 == BlobRow.sha256)
    in_artifacts = exists().where(ArtifactRow.sha256 == BlobRow.sha256)
    return ~in_files & ~in_artifacts
