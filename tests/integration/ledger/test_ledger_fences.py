"""Who has lost a job leaves no bytes: publishing shows the claim, as every other write of a worker does."""

from pathlib import Path

import pytest
from sqlalchemy import select

from app.contracts.states import JobState
from app.db.engine import Database
from app.db.rows import BlobRow
from app.queue.blobs import Blobs, ClaimLost
from app.storage.local import LocalStore
from tests.integration.ledger.harness import LedgerHarness, crash, digest


async def _rows(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.scalars(select(BlobRow.sha256)))


@pytest.fixture
def blobs(database: Database, tmp_path: Path) -> Blobs:
    return Blobs(database, LocalStore(tmp_path / "blobs"))


async def test_a_zombie_publishes_neither_row_nor_bytes(
    harness: LedgerHarness, database: Database, blobs: Blobs, tmp_path: Path
) -> None:
    await harness.job()
    claim = await harness.running()
    assert await harness.ledger.lose(claim, crash())
    await harness.running(owner="owner-2")
    before, source = await _rows(database), tmp_path / "student"
    source.write_text("late")
    with pytest.raises(ClaimLost, match=f"{claim.job_id}: attempt 1"):
        await blobs.publish(source, digest("late"), claim)
    assert await _rows(database) == before
    assert source.exists()
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


async def test_a_worker_that_ended_its_job_publishes_nothing_more(
    harness: LedgerHarness, blobs: Blobs, tmp_path: Path
) -> None:
    """Its token stays with the ended job, so that it can repeat the end; bytes after the end are refused."""
    await harness.job()
    claim = await harness.running()
    assert await harness.ledger.succeed(claim, await harness.publication())
    (tmp_path / "more").write_text("more")
    with pytest.raises(ClaimLost):
        await blobs.publish(tmp_path / "more", digest("more"), claim)


async def test_a_worker_publishes_for_a_job_that_it_holds_also_while_it_is_being_cancelled(
    harness: LedgerHarness, database: Database, blobs: Blobs, tmp_path: Path
) -> None:
    job_id = await harness.job()
    claim = await harness.running()
    assert await harness.cancel(job_id) is JobState.CANCELLING
    (tmp_path / "student").write_text("on time")
    assert await blobs.publish(tmp_path / "student", digest("on time"), claim) == len("on time")
    assert digest("on time") in await _rows(database)
