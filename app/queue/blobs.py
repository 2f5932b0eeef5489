"""Publishing bytes to the blob store.

The state of a blob's row:

    writing     its bytes are about to be put (or the process died while it put them)
    stored      the bytes are in the store, complete
    released    the last row that referred to it was deleted: readers may still open it
    deleting    no row refers to it; its bytes are deleted next

Bytes and row cannot change in one step, so the order protects them. Publishing touches the row first, and sets a
`released` or `deleting` one back to `writing`; then the bytes are put; then the transaction that makes them visible
refers to the row (foreign key) and marks it `stored`. What no row refers to is collected by
`app.system.retention.blobs`. Putting several files can take long, and the bytes of the first may be those of a resource
that is deleted meanwhile: until the transaction has ended they are `kept`, which sets a `released` row back to
`writing` well before it is collected.

A worker publishes under its claim, as with every other write: a worker that has lost the job publishes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import LEASED
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.errors import DatabaseUnavailable
from app.db.rows import ArtifactRow, BlobRow, FileRow
from app.db.transactions.commits import set_commit_check
from app.db.writes import upsert
from app.queue.records import Claim
from app.queue.transitions import lock
from app.storage.store import BlobStore, key_of

GRACE = timedelta(hours=24)
"""How long unreferenced bytes are kept: far longer than an upload or job takes from publishing to its transaction."""
READERS_GRACE = timedelta(minutes=5)
"""How long released bytes are kept: far longer than a download takes from reading their row to opening them. A file of
several blobs, such as a bundle, opens each when its turn comes: where that takes longer, the download is cut.
"""
KEPT_SECONDS = READERS_GRACE.total_seconds() / 5
"""How often the bytes of a publication in progress are touched."""


class Blobs:
    """The blob store together with its table."""

    def __init__(self, database: Database, store: BlobStore) -> None:
        self._database = database
        self._store = store

    async def publish(self, source: Path, sha256: str, claim: Claim | None = None) -> int:
        """Move a file into the store under its digest, which the caller has computed. Returns its size.

        The caller's transaction must call `mark_stored` and refer to the digest within GRACE. A worker passes its
        `claim`. Raises ClaimLost if the claim is no longer held, and what BlobStore.put raises.
        """
        size = (await asyncio.to_thread(source.stat)).st_size
        async with self._database.write() as session:
            if claim is not None and not await _holds(session, claim):
                raise ClaimLost(claim.job_id, claim.attempt)
            await _touch(session, sha256, size)
        await self._store.put(source, sha256)
        return size

    @asynccontextmanager
    async def kept(self, digests: Collection[str], claim: Claim | None = None) -> AsyncIterator[None]:
        """Keep those of them that are published from being collected during the block, in which they are published and
        referred to. With a `claim`, as long as it is held.
        """
        keeping = asyncio.create_task(self._keep(digests, claim))
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self, digests: Collection[str], claim: Claim | None) -> None:
        while True:
            await asyncio.sleep(KEPT_SECONDS)
            with suppress(DatabaseUnavailable):
                async with self._database.write() as session:
                    if claim is not None and not await _holds(session, claim):
                        return
                    await _postpone(session, digests)


async def mark_stored(session: AsyncSession, digests: Sequence[str]) -> None:
    """Mark published blobs as stored, in the transaction whose rows refer to them.

    Raises UnknownBlob for one that was never published or has been collected.
    """
    wanted = set(digests)
    if not wanted:
        return
    rows = select(BlobRow.sha256).where(BlobRow.sha256.in_(wanted)).order_by(BlobRow.sha256)
    # Always in one order: two transactions that refer to the same bytes would otherwise wait for each other.
    await session.execute(rows.with_for_update(key_share=True))
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


async def release_blobs(session: AsyncSession, digests: Collection[str], key_id: str | None) -> None:
    """Mark those blobs that no row refers to any more as released; they count for the key until they are collected.

    Called in the transaction that deletes the rows, after that, or after an upload that was refused.
    """
    rows = select(BlobRow.sha256).where(BlobRow.sha256.in_(digests)).order_by(BlobRow.sha256)
    await session.execute(rows.with_for_update(key_share=True))  # then no transaction adds a reference meanwhile
    released = update(BlobRow).where(
        BlobRow.sha256.in_(digests), BlobRow.state.in_(("writing", "stored")), unreferenced()
    )
    changes = {"state": "released", "key_id": key_id, "last_used": utcnow()}
    await session.execute(released.values(changes).execution_options(synchronize_session=False))


def unreferenced() -> ColumnElement[bool]:
    """Whether no row refers to the blob."""
    in_files = exists().where(FileRow.sha256 == BlobRow.sha256)
    in_artifacts = exists().where(ArtifactRow.sha256 == BlobRow.sha256)
    return ~in_files & ~in_artifacts


class UnknownBlob(Exception):
    """A row would refer to bytes that are not in the store."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"expected the blob {sha256} to be published before it is referred to: publish it again")


class ClaimLost(Exception):
    """Another worker may have the job, or the job has ended: nothing was written."""

    def __init__(self, job_id: str, attempt: int) -> None:
        super().__init__(f"{job_id}: attempt {attempt} no longer holds the job; nothing was published")


async def _holds(session: AsyncSession, claim: Claim) -> bool:
    job = await lock(session, claim.job_id, claim.token)
    return job is not None and job.state in LEASED


async def _touch(session: AsyncSession, sha256: str, size: int) -> None:
    """Insert the row as writing, or postpone its collection. Waits for a row that is being collected."""
    now = utcnow()
    statement = upsert(session, BlobRow).values(
        sha256=sha256, key=key_of(sha256), bytes=size, state="writing", created_at=now, last_used=now
    )
    await session.execute(statement.on_conflict_do_update(index_elements=[BlobRow.sha256], set_={"last_used": now}))
    await _take_back(session, [sha256])
    set_commit_check(session, lambda: select(BlobRow.sha256).where(BlobRow.sha256 == sha256, BlobRow.last_used >= now))


async def _postpone(session: AsyncSession, digests: Collection[str]) -> None:
    """Postpone the collection of those that have a row. Locked in the order of `mark_stored`."""
    rows = select(BlobRow.sha256).where(BlobRow.sha256.in_(digests)).order_by(BlobRow.sha256)
    await session.execute(rows.with_for_update(key_share=True))
    touched = update(BlobRow).where(BlobRow.sha256.in_(digests)).values(last_used=utcnow())
    await session.execute(touched.execution_options(synchronize_session=False))
    await _take_back(session, digests)


async def _take_back(session: AsyncSession, digests: Collection[str]) -> None:
    released = update(BlobRow).where(BlobRow.sha256.in_(digests), BlobRow.state.in_(("released", "deleting")))
    await session.execute(released.values(state="writing").execution_options(synchronize_session=False))
