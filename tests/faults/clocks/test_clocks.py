"""The wall clock of one process jumps by an hour, either way, while jobs run: nothing changes."""

import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import pytest

from app.contracts.states import JobState
from tests.faults.clocks.clocks import HOUR, Clock, compiler, settable_clock
from tests.faults.services.api_and_workers import ApiAndWorkers
from tests.faults.services.serve import eventually
from tests.faults.services.small_jobs import Json, TrainingInputs, described
from tests.integration.worker.harness import WorkerHarness, gone

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler for the clock's shim")
JUMPS = (HOUR, -HOUR)
LONG = 3000
"""Steps of a job that the jumps meet."""


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return settable_clock(tmp_path)


@pytest.fixture
async def harness(database_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(database_url, tmp_path / "data", lease_seconds=3.0)
    yield harness
    await harness.close()


def test_the_shim_moves_the_wall_clock_and_no_other(clock: Clock) -> None:
    code = "import time; print(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"

    def clocks() -> list[float]:
        done = subprocess.run([sys.executable, "-c", code], env=clock.environment, capture_output=True, check=True)
        return [float(word) for word in done.stdout.split()]

    before = clocks()
    clock.jump(HOUR)
    after = clocks()
    assert after[0] - before[0] > HOUR
    assert all(now - then < HOUR for then, now in zip(before[1:], after[1:], strict=True))


async def _renewal(harness: WorkerHarness, job_id: str) -> None:
    """Waits until the lease is renewed, which is done four times a lease."""
    before = (await harness.row(job_id)).lease_expires
    await harness.until(job_id, lambda row: row.lease_expires != before)


async def test_a_worker_whose_clock_jumps_keeps_its_job(
    harness: WorkerHarness, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as started:
        for name, value in clock.environment.items():
            started.setenv(name, value)
        worker = harness.process()
    other = harness.process()  # it would take the job over, were the lease judged by either's clock
    job_id = await harness.submit("work", steps=20, every=4, hold=10)
    await harness.stepping(job_id, 10)
    events = len(await harness.events(job_id))
    for seconds in JUMPS:
        clock.jump(seconds)
        for _ in range(3):
            await _renewal(harness, job_id)
    assert len(await harness.events(job_id)) == events
    await harness.act("pause", job_id)
    assert (await harness.reaches(job_id, JobState.PAUSED)).crashes == 0
    await harness.act("resume", job_id)
    job = await harness.ends(job_id)
    assert (job.state, job.attempt, job.crashes) == (JobState.SUCCEEDED, 2, 0)
    assert worker.popen.poll() is None
    assert other.popen.poll() is None


async def test_a_sweeper_whose_clock_is_ahead_takes_nothing_from_live_workers_and_finds_dead_ones(
    harness: WorkerHarness, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.jump(HOUR)
    owner = harness.process()
    job_id = await harness.submit("work", steps=20, every=4, hold=10)
    pid = await harness.stepping(job_id, 10)
    with monkeypatch.context() as started:
        for name, value in clock.environment.items():
            started.setenv(name, value)
        sweeper = harness.process()
    await sweeper.says("with slots")
    for _ in range(3):
        await _renewal(harness, job_id)
    assert (await harness.row(job_id)).attempt == 1
    await owner.stop()
    await gone(pid)
    job = await harness.ends(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    ahead = (await harness.events(job_id))[-1].time - datetime.now(UTC)
    assert ahead.total_seconds() > HOUR / 2  # it really believed in another time


def test_an_api_whose_clock_jumps_keeps_jobs_queue_and_keys(
    database_url: str, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_and_workers = ApiAndWorkers(tmp_path / "data", database_url, workers=1)  # its worker has the right time
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    with api_and_workers as service:
        all_outputs = TrainingInputs(service, tmp_path)
        spec = all_outputs.spec("train", described(0))
        running = service.submit(all_outputs.spec("train", {**described(1), "steps": LONG}))
        asked: dict[int, str] = {}
        for seconds in (*JUMPS, 0):
            clock.jump(seconds)
            eventually(partial(_is_wrong_by, service, seconds))
            asked[seconds] = str(_asked(service, spec, seconds)["id"])
            service.succeed(asked[seconds])
        for seconds, job_id in asked.items():
            clock.jump(-seconds)
            assert _asked(service, spec, seconds)["id"] == job_id
        job = service.succeed(running)
    assert (job["attempt"], job["crashes"]) == (1, 0)


def _is_wrong_by(service: ApiAndWorkers, seconds: int) -> bool:
    """Whether the API's clock is, to a minute."""
    date = parsedate_to_datetime(service.http.get("/healthz").headers["Date"])
    return abs((date - datetime.now(UTC)).total_seconds() - seconds) < 60


def _asked(service: ApiAndWorkers, spec: Json, key: int) -> Json:
    answer = service.http.post("/v1/jobs", json=spec, headers={"Idempotency-Key": f"key-{key}"})
    assert answer.status_code == 202, answer.text
    found: Json = answer.json()
    return found
