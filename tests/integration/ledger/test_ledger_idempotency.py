"""One key, one job: racers wait and replay; uploads hold their key; nothing is kept of what failed."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.contracts.specs.jobs import TrainJob
from app.db.clock import utcnow
from app.db.engine import Database, open_database
from app.db.rows import IdempotencyRow, JobRow
from app.queue import idempotency
from app.queue.idempotency import Answer, HoldLost, InFlight, KeyReused
from app.queue.ledger import Ledger
from app.queue.records import NewJob
from tests.integration.ledger.harness import ARCHITECTURE, LedgerHarness


async def post(database: Database, dataset: str, key: str, fingerprint: str = "f" * 64) -> Answer:
    """What the API does for POST /v1/jobs."""
    spec = TrainJob(kind="train", dataset=dataset, model=ARCHITECTURE)
    async with database.write() as session:
        answer = await idempotency.find(session, "key_1", key, fingerprint)
        if answer is None:
            job = await Ledger(database).submit(session, NewJob(spec=spec))
            answer = Answer(202, job.id, f"/v1/jobs/{job.id}")
            await idempotency.remember(session, "key_1", key, fingerprint, answer)
        return answer


async def jobs(harness: LedgerHarness) -> int:
    async with harness.database.read() as session:
        return await session.scalar(select(func.count()).select_from(JobRow)) or 0


async def test_racers_with_one_key_get_one_job_and_one_answer(harness: LedgerHarness, database_url: str) -> None:
    dataset = await harness.dataset()
    databases = [open_database(database_url) for _ in range(4)]
    for key in ("a", "b", "c"):
        racers = [post(database, dataset, key) for database in databases for _ in range(3)]
        assert len(set(await asyncio.gather(*racers))) == 1
    for database in databases:
        await database.close()
    assert await jobs(harness) == 3


async def test_the_same_content_replays_and_another_is_refused(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    first = await post(harness.database, dataset, "k")
    assert await post(harness.database, dataset, "k") == first
    with pytest.raises(KeyReused, match="use a new key"):
        await post(harness.database, dataset, "k", fingerprint="0" * 64)
    assert await jobs(harness) == 1


async def test_keys_of_different_owners_are_different_keys(harness: LedgerHarness) -> None:
    async with harness.database.write() as session:
        assert await idempotency.find(session, "key_1", "k", "f") is None
        assert await idempotency.find(session, "key_2", "k", "g") is None


async def test_a_request_that_fails_frees_its_key(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    with pytest.raises(RuntimeError, match="a 4xx"):
        async with harness.database.write() as session:
            assert await idempotency.find(session, "key_1", "k", "f" * 64) is None
            raise RuntimeError("a 4xx")
    assert (await post(harness.database, dataset, "k")).status == 202


async def test_a_racer_takes_over_when_the_first_one_fails(harness: LedgerHarness, database_url: str) -> None:
    """It waits for the first, which gives up: then the work is the racer's."""
    dataset = await harness.dataset()
    other = open_database(database_url)
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeError, match="a 4xx"):
            async with harness.database.write() as session:
                assert await idempotency.find(session, "key_1", "k", "f" * 64) is None
                racer = asyncio.create_task(post(other, dataset, "k"))
                await asyncio.sleep(0.1)
                assert not racer.done()
                raise RuntimeError("a 4xx")
        assert (await racer).status == 202
    await other.close()


async def hold(database: Database, key: str, seconds: float = 60.0) -> str | IdempotencyRow:
    async with database.write() as session:
        return await idempotency.hold(session, "key_1", key, seconds)


async def finish(database: Database, key: str, token: str) -> None:
    async with database.write() as session:
        await idempotency.remember(session, "key_1", key, "f", Answer(201, "{}", "/v1/models/mdl_1"), token)


async def test_an_upload_in_flight_keeps_others_out(harness: LedgerHarness) -> None:
    token = await hold(harness.database, "up")
    assert isinstance(token, str)
    with pytest.raises(InFlight, match="wait for its end"):
        await hold(harness.database, "up")
    with pytest.raises(InFlight):
        async with harness.database.write() as session:
            await idempotency.find(session, "key_1", "up", "f")
    await finish(harness.database, "up", token)
    row = await hold(harness.database, "up")
    assert isinstance(row, IdempotencyRow)
    assert idempotency.answer_of(row, "f") == Answer(201, "{}", "/v1/models/mdl_1")
    with pytest.raises(KeyReused):
        idempotency.answer_of(row, "another content")


async def test_a_failed_upload_gives_its_key_back(harness: LedgerHarness) -> None:
    token = await hold(harness.database, "up")
    assert isinstance(token, str)
    async with harness.database.write() as session:
        await idempotency.release(session, "key_1", "up", token)
    assert isinstance(await hold(harness.database, "up"), str)


async def test_the_key_of_a_dead_upload_is_taken_over_and_the_dead_one_writes_nothing(harness: LedgerHarness) -> None:
    dead = await hold(harness.database, "up", seconds=-1.0)
    assert isinstance(dead, str)
    heir = await hold(harness.database, "up")
    assert isinstance(heir, str)
    with pytest.raises(HoldLost):
        await finish(harness.database, "up", dead)
    async with harness.database.write() as session:
        with pytest.raises(HoldLost):
            await idempotency.extend(session, "key_1", "up", dead, 60.0)
        await idempotency.release(session, "key_1", "up", dead)
        await idempotency.extend(session, "key_1", "up", heir, 60.0)
    await finish(harness.database, "up", heir)


async def test_answers_are_kept_for_a_day(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    for key in ("young", "old"):
        await post(harness.database, dataset, key)
    async with harness.database.write() as session:
        aged = update(IdempotencyRow).where(IdempotencyRow.key == "old")
        # Forgotten too late rather than too early: a clock may have jumped by an hour.
        await session.execute(aged.values(created_at=utcnow() - timedelta(hours=25)))
        assert await idempotency.purge(session) == 0
        await session.execute(aged.values(created_at=utcnow() - timedelta(hours=26, seconds=1)))
        assert await idempotency.purge(session) == 1
    await post(harness.database, dataset, "young")
    assert await jobs(harness) == 2
