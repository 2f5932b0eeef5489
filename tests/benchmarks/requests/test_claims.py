"""How long a claim takes with 10,000 waiting jobs of one, three or a hundred keys, and to count those of a key."""

import time

import pytest
from sqlalchemy import insert

from app.contracts.states import JobState
from app.db.engine import Database, open_database
from app.db.rows import JobInputRow, JobRow, KeyRow
from app.queue.keys import quotas
from app.queue.ledger import Ledger
from tests.benchmarks.figures import line, ratio, say
from tests.integration.ledger.harness import LedgerHarness

pytestmark = pytest.mark.benchmark
WAITING = 10_000
CLAIMS = 60


async def _fill(harness: LedgerHarness, keys: int, count: int) -> None:
    dataset = await harness.dataset()
    first = await harness.row(await harness.job(dataset, key_id="key_0"))
    common = {column.name: getattr(first, column.name) for column in JobRow.__table__.columns}
    ids = [f"job_z{count:06d}{number:06d}" for number in range(count)]
    jobs = [
        common | {"id": job, "key_id": f"key_{i % keys}", "queue_rank": -(i % 5), "state": JobState.QUEUED}
        for i, job in enumerate(ids)
    ]
    async with harness.database.write() as session:
        await session.execute(insert(JobRow), jobs)
        inputs = [{"job_id": job, "role": "dataset", "dataset_id": dataset} for job in ids]
        await session.execute(insert(JobInputRow), inputs)


async def _claims(harness: LedgerHarness) -> list[float]:
    found = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        await harness.claim()
        found.append(time.perf_counter() - began)
    return found


async def _counts(database: Database) -> list[float]:
    async with database.write() as session:
        session.add(KeyRow(id="key_0", name="benchmark", prefix="sth_", sha256="0" * 64))
    found = []
    for _ in range(CLAIMS):
        async with database.write() as session:
            began = time.perf_counter()
            await quotas.lock(session, "key_0")
            await quotas.usage(session, "key_0", 2 * WAITING)
            found.append(time.perf_counter() - began)
    return found


@pytest.mark.parametrize("keys", [1, 3, 100])
async def test_the_time_of_a_claim_beside_many_waiting_jobs(migrated_url: str, keys: int) -> None:
    database = open_database(migrated_url)
    try:
        await _measure(database, keys)
    finally:
        await database.close()


async def _measure(database: Database, keys: int) -> None:
    harness = LedgerHarness(database, Ledger(database))
    say(f"{WAITING} waiting jobs of {keys} keys, {database.dialect}")
    await _fill(harness, keys, CLAIMS)
    few = line(f"a claim beside at most {CLAIMS} waiting jobs", await _claims(harness))
    await _fill(harness, keys, WAITING)
    many = line(f"a claim beside {WAITING}", await _claims(harness))
    ratio("beside many, relative to beside few", many, few)
    line("counting what a key has", await _counts(database))
