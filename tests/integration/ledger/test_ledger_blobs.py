"""Bytes and their rows: what is referred to is never collected, in any order of publishing and collecting."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from app.db.clock import utcnow
from app.db.engine import Database, open_database
from app.db.ids import new_id
from app.db.rows import BlobRow, DatasetRow, FileRow
from app.queue.blobs import READERS_GRACE, Blobs, UnknownBlob, mark_stored, release_blobs
from app.storage.local import LocalStore
from app.system.retention.blobs import collect, waiting
from tests.integration.ledger.harness import DATASET, digest

NO_GRACE = timedelta(seconds=-1)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "blobs")


@pytest.fixture
def blobs(database: Database, store: LocalStore) -> Blobs:
    return Blobs(database, store)


async def publish(blobs: Blobs, folder: Path, text: str) -> str:
    source = folder / new_id("ds")
    source.write_text(text)
    assert await blobs.publish(source, digest(text)) == len(text)
    return digest(text)


async def refer(database: Database, sha256: str) -> str:
    """What an upload's transaction does: a dataset with one file."""
    dataset_id = new_id("ds")
    async with database.write() as session:
        await mark_stored(session, [sha256])
        file = FileRow(name="d.npz", role="data", bytes=5, sha256=sha256)
        document = DATASET.model_dump(mode="json")
        row = DatasetRow(id=dataset_id, name="d", state="ready", format="npz", manifest=document, files=[file])
        session.add(row)
    return dataset_id


async def state(database: Database, sha256: str) -> str | None:
    async with database.read() as session:
        return await session.scalar(select(BlobRow.state).where(BlobRow.sha256 == sha256))


async def test_published_bytes_are_stored_once_somebody_refers_to_them(
    database: Database, blobs: Blobs, store: LocalStore, tmp_path: Path
) -> None:
    sha256 = await publish(blobs, tmp_path, "hello")
    assert await state(database, sha256) == "writing"
    await refer(database, sha256)
    assert await state(database, sha256) == "stored"
    assert await store.exists(sha256)


async def test_referring_to_bytes_that_are_not_there_is_refused(database: Database) -> None:
    with pytest.raises(UnknownBlob):
        await refer(database, digest("never"))


async def test_only_unreferenced_old_bytes_are_collected(
    database: Database, blobs: Blobs, store: LocalStore, tmp_path: Path
) -> None:
    kept, fresh, old = [await publish(blobs, tmp_path, text) for text in ("kept", "fresh", "old")]
    await refer(database, kept)
    async with database.write() as session:
        aged = update(BlobRow).where(BlobRow.sha256.in_([kept, old]))
        await session.execute(aged.values(last_used=utcnow() - timedelta(days=2)))
    assert await collect(database, store) == 1
    assert [await store.exists(sha256) for sha256 in (kept, fresh, old)] == [True, True, False]
    assert await state(database, old) is None


async def test_bytes_are_collected_after_their_dataset_is_deleted(
    database: Database, blobs: Blobs, store: LocalStore, tmp_path: Path
) -> None:
    sha256 = await publish(blobs, tmp_path, "hello")
    first, second = await refer(database, sha256), await refer(database, sha256)
    for dataset, collected in ((first, 0), (second, 1)):
        async with database.write() as session:
            await session.execute(delete(DatasetRow).where(DatasetRow.id == dataset))
        assert await collect(database, store, NO_GRACE) == collected
    assert not await store.exists(sha256)


async def test_released_bytes_are_kept_for_readers_and_as_long_as_ever_once_they_are_published_again(
    database: Database, blobs: Blobs, store: LocalStore, tmp_path: Path
) -> None:
    sha256 = await publish(blobs, tmp_path, "hello")
    first, second = await refer(database, sha256), await refer(database, sha256)
    expected: tuple[tuple[str, str | None], ...] = ((first, "stored"), (second, "released"))
    for dataset, found in expected:
        async with database.write() as session:
            await session.execute(delete(DatasetRow).where(DatasetRow.id == dataset))
            await release_blobs(session, [sha256], "key_1")
        assert await state(database, sha256) == found
    assert await collect(database, store) == 0
    async with database.read() as session:
        ((waits, size, until),) = await waiting(session)
    assert (waits, size) == (sha256, 5)
    assert timedelta() < until - utcnow() <= READERS_GRACE
    for published, collected in ((True, 0), (False, 1)):
        if published:
            await publish(blobs, tmp_path, "hello")
        async with database.write() as session:
            if not published:
                await release_blobs(session, [sha256], "key_1")
            await session.execute(update(BlobRow).values(last_used=utcnow() - 2 * READERS_GRACE))
        assert await collect(database, store) == collected


async def test_bytes_marked_for_deletion_come_back_when_published_again(
    database: Database, blobs: Blobs, store: LocalStore, tmp_path: Path
) -> None:
    """The collector died between its mark and its removal."""
    sha256 = await publish(blobs, tmp_path, "hello")
    async with database.write() as session:
        await session.execute(update(BlobRow).values(state="deleting"))
    with pytest.raises(UnknownBlob):
        await refer(database, sha256)
    await publish(blobs, tmp_path, "hello")
    await refer(database, sha256)
    assert await collect(database, store, NO_GRACE) == 0
    assert await store.exists(sha256)


async def test_a_collector_that_died_after_its_mark_is_finished_by_the_next(
    database: Database, blobs: Blobs, store: LocalStore, tmp_path: Path
) -> None:
    sha256 = await publish(blobs, tmp_path, "hello")
    async with database.write() as session:
        await session.execute(update(BlobRow).values(state="deleting"))
    assert await collect(database, store, NO_GRACE) == 1
    assert await state(database, sha256) is None
    assert not await store.exists(sha256)


async def test_no_referred_bytes_are_lost_while_others_collect(
    database: Database, store: LocalStore, database_url: str, tmp_path: Path
) -> None:
    """Publishers and collectors of several processes on the same few digests, without any grace."""
    others = [open_database(database_url) for _ in range(2)]
    stop = asyncio.Event()
    collectors = [asyncio.create_task(collect_until(other, store, stop)) for other in others]
    made = await asyncio.gather(*(uploads(database, Blobs(database, store), tmp_path) for _ in range(3)))
    stop.set()
    await asyncio.gather(*collectors)
    for sha256 in {digest(text) for texts in made for text in texts}:
        assert await state(database, sha256) == "stored"
        assert await store.exists(sha256)
    for other in others:
        await other.close()


async def test_a_collector_does_not_wait_for_bytes_that_a_transaction_uses(
    database: Database, blobs: Blobs, store: LocalStore, tmp_path: Path
) -> None:
    """Waiting with rows of its own marked would be a deadlock with a second collector."""
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    used, free = await publish(blobs, tmp_path, "used"), await publish(blobs, tmp_path, "free")
    async with database.write() as session:
        await mark_stored(session, [used])
        async with asyncio.timeout(5):
            assert await collect(database, store, NO_GRACE) == 1
    assert [await store.exists(sha256) for sha256 in (used, free)] == [True, False]


async def test_transactions_that_refer_to_the_same_bytes_lock_them_in_one_order(
    database: Database, blobs: Blobs, tmp_path: Path
) -> None:
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    last, first = sorted((digest("one"), digest("two")), reverse=True)
    texts = {digest(text): text for text in ("one", "two")}
    for sha256 in (last, first):  # the row that must be locked last is the first one in the table
        await publish(blobs, tmp_path, texts[sha256])
    async with database.write() as session:
        await mark_stored(session, [first])
        waiting = asyncio.create_task(mark(database, [last, first]))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        async with asyncio.timeout(5):
            await mark_stored(session, [last])
    await waiting


async def mark(database: Database, digests: list[str]) -> None:
    async with database.write() as session:
        await mark_stored(session, digests)


async def collect_until(database: Database, store: LocalStore, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await collect(database, store, NO_GRACE)
        await asyncio.sleep(0)


async def uploads(database: Database, blobs: Blobs, folder: Path) -> list[str]:
    """Upload and delete the same texts over and over; the last round stays."""
    texts = ["one", "two", "three"]
    for last in (False, False, True):
        for text in texts:
            dataset = await upload(database, blobs, folder, text)
            if not last:
                async with database.write() as session:
                    await session.execute(delete(DatasetRow).where(DatasetRow.id == dataset))
    return texts


async def upload(database: Database, blobs: Blobs, folder: Path, text: str) -> str:
    while True:
        sha256 = await publish(blobs, folder, text)
        try:
            return await refer(database, sha256)
        except UnknownBlob:  # collected in between, as only a test without grace can have it
            continue
