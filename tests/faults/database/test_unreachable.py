"""The database goes away while a job trains."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from app.contracts.states import JobState
from tests.integration.worker.harness import WorkerHarness, eventually, gone

Switch = Callable[[bool], None]


@pytest.fixture
async def harness(migrated_postgresql_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(migrated_postgresql_url, tmp_path / "data", lease_seconds=30.0)
    yield harness
    await harness.close()


@pytest.fixture
def reachable(migrated_postgresql_url: str, postgresql_server: str) -> Switch:
    """False: no new connections are accepted, and existing ones are closed."""
    name = make_url(migrated_postgresql_url).database
    assert name is not None

    def switch(on: bool) -> None:
        with psycopg.connect(f"host={postgresql_server} user=postgres dbname=postgres", autocommit=True) as admin:
            allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            admin.execute(allow.format(sql.Identifier(name), sql.Literal(on)))
            if not on:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    return switch


def _lines(harness: WorkerHarness, job_id: str) -> int:
    """How many events the job's child has written."""
    return sum(path.read_bytes().count(b"\n") for path in harness.paths.job(job_id).glob("attempt-*/events.jsonl"))


async def test_training_goes_on_and_no_event_is_lost(harness: WorkerHarness, reachable: Switch) -> None:
    worker = harness.process()
    job_id = await harness.submit("work", steps=60, pause=0.05)
    await harness.stepping(job_id, 5)
    reachable(False)
    try:
        before = _lines(harness, job_id)

        async def further() -> bool:
            return _lines(harness, job_id) > before + 20

        await eventually(further)
    finally:
        reachable(True)
    job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 1
    assert await harness.metric_steps(job_id, "train/loss") == list(range(1, 61))
    assert worker.popen.poll() is None


async def test_past_the_lease_training_stops_and_goes_on_from_its_checkpoint_later(
    harness: WorkerHarness, reachable: Switch
) -> None:
    harness.lease(2.0)
    worker = harness.process()
    job_id = await harness.submit("work", steps=20, every=4, hold=10)
    pid = await harness.stepping(job_id, 10)
    reachable(False)
    try:
        await gone(pid)
    finally:
        reachable(True)
    job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert (await harness.warnings(job_id, "began"))[1]["step"] == 8
    assert worker.popen.poll() is None
