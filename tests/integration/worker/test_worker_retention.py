"""What is collected, by policy, and never what a job or model needs: `stillhouse gc` beside a running service."""

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from app.contracts.states import JobState
from app.contracts.wire.orders import SHARED_CACHES, SharedCache
from app.db.clock import utcnow
from app.db.migrate import upgrade
from app.db.rows import BlobRow, JobRow
from app.http.services import open_services
from app.queue.ended import retrying
from app.system.retention.policy import collect, find_stale
from tests.integration.ledger.harness import digest
from tests.integration.worker.harness import WorkerHarness
from workers.runtime.retention import policy as worker_policy
from workers.runtime.retention.cached_inputs import RECENT_SECONDS

LONG_AGO = RECENT_SECONDS + 2 * 86_400.0
BOUNDED_BY_NUMBER: set[SharedCache] = {"controls", "figures"}


@pytest.fixture
async def harness(database_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(database_url, tmp_path / "data", lease_seconds=6.0)
    yield harness
    await harness.close()


def _file(path: Path, age: float = LONG_AGO, size: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path


def _age(folder: Path, seconds: float) -> None:
    """Nothing in a folder has changed for so long."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - seconds,) * 2)


async def _unreferenced(harness: WorkerHarness, text: str, days: float) -> str:
    source = harness.settings.staging_dir / text
    source.write_text(text)
    await harness.blobs.publish(source, digest(text))
    async with harness.database.write() as session:
        aged = update(BlobRow).where(BlobRow.sha256 == digest(text))
        await session.execute(aged.values(last_used=utcnow() - timedelta(days=days)))
    return digest(text)


async def _all(harness: WorkerHarness) -> set[tuple[str, str]]:
    """(kind, name) of all that would go."""
    services = open_services(harness.settings)
    try:
        found = {(each.kind, each.name) for each in await find_stale(services)}
    finally:
        await services.database.close()
    return found | {
        (each.kind, each.name)
        for each in await worker_policy.find_stale(harness.settings, harness.database, dry_run=True)
    }


def _gc(harness: WorkerHarness, *options: str) -> str:
    settings = harness.settings
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
    variables = {"STILLHOUSE_DATABASE_URL": settings.database_url, "STILLHOUSE_CACHE_BYTES": str(settings.cache_bytes)}
    command = [str(Path(sys.executable).with_name("stillhouse")), "gc", "--data", str(settings.data_dir), *options]
    done = subprocess.run(command, env=clean | variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_dry_run_says_what_the_real_one_removes_and_removes_nothing(harness: WorkerHarness) -> None:
    old = await _unreferenced(harness, "old", days=2)
    fresh = await _unreferenced(harness, "fresh", days=0)
    upload = _file(harness.settings.staging_dir / "dead")
    growing = _file(harness.settings.staging_dir / "growing", age=0.0)
    live = await harness.submit()
    ended = await harness.submit()
    gone = await harness.submit()
    unknown = await harness.submit()
    async with harness.database.write() as session:
        moved = update(JobRow).where(JobRow.id == ended)
        await session.execute(moved.values(state=JobState.SUCCEEDED, finished_at=utcnow()))
        await session.execute(delete(JobRow).where(JobRow.id.in_((gone, unknown))))
    folders = {
        job: _file(harness.paths.checkpoints(job) / "step-00000001-a1" / "state.json")
        for job in (live, ended, gone, unknown)
    }
    _age(harness.paths.job(gone), 3600.0 * (harness.settings.checkpoint_kept_hours + 1))
    expected = {("blob", old), ("upload", "dead"), ("job", ended), ("job", gone)}
    assert await _all(harness) == expected

    output = await asyncio.to_thread(_gc, harness, "--dry-run")
    assert all(name in output for _, name in expected)
    assert output.splitlines()[-2:] == [
        "2 items are kept for a time, 1,005 bytes",
        "4 items would be deleted, 3,003 bytes",
    ]
    kept = [line.split() for line in output.splitlines() if "kept until" in line]
    assert [words[1:5] for words in kept] == [["blob", fresh, "kept", "until"], ["job", unknown, "kept", "until"]]
    hours = [(datetime.fromisoformat(words[5]) - utcnow()).total_seconds() / 3600 for words in kept]
    assert hours == [pytest.approx(24.0, abs=0.1), pytest.approx(harness.settings.checkpoint_kept_hours, abs=0.1)]
    assert all(path.exists() for path in (upload, growing, *folders.values()))
    assert await harness.store.exists(old)

    output = await asyncio.to_thread(_gc, harness)
    assert output.splitlines()[-1] == "4 items deleted, 3,003 bytes"
    assert [folders[job].exists() for job in (live, ended, gone, unknown)] == [True, False, False, True]
    assert [upload.exists(), growing.exists()] == [False, True]
    assert [await harness.store.exists(blob) for blob in (old, fresh)] == [False, True]
    assert await _all(harness) == set()


async def test_the_folder_of_a_job_that_was_deleted_goes_at_once(harness: WorkerHarness) -> None:
    job = await harness.submit()
    _file(harness.paths.checkpoints(job) / "step-00000001-a1" / "state.json", age=0.0)
    await _end(harness, job, JobState.FAILED, 0.0)
    assert await _all(harness) == set(), "a retry may want its checkpoints"
    async with harness.database.write() as session:
        assert await harness.ledger.delete(session, job)
    assert await _all(harness) == {("job", job)}


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
async def test_the_checkpoints_of_a_job_that_failed_stay_for_a_while(harness: WorkerHarness, state: JobState) -> None:
    job = await harness.submit()
    _file(harness.paths.checkpoints(job) / "step-00000001-a1" / "state.json")
    for hours, expected in ((1.0, set()), (100.0, {("job", job)})):
        async with harness.database.write() as session:
            ended = update(JobRow).where(JobRow.id == job)
            checkpoint = {"checkpoint": "step-00000001-a1", "checkpoint_sha256": "0" * 64}
            await session.execute(
                ended.values(state=state, finished_at=utcnow() - timedelta(hours=hours), **checkpoint)
            )
        assert await _all(harness) == expected


async def _end(harness: WorkerHarness, job_id: str, state: JobState, hours: float) -> None:
    async with harness.database.write() as session:
        checkpoint = {"checkpoint": "step-00000001-a1", "checkpoint_sha256": "0" * 64}
        ended = update(JobRow).where(JobRow.id == job_id)
        await session.execute(ended.values(state=state, finished_at=utcnow() - timedelta(hours=hours), **checkpoint))


@pytest.mark.parametrize("meanwhile", ["its retry ends", "its time is up"])
async def test_a_folder_goes_only_after_the_ledger_has_forgotten_its_checkpoint(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """Whatever happens after the ledger was asked: a retry counts on what the row still names."""
    retried = meanwhile == "its retry ends"
    old, retry = await harness.submit(), ""
    checkpoint = _file(harness.paths.checkpoints(old) / "step-00000001-a1" / "state.json")
    await _end(harness, old, JobState.FAILED, 100.0 if retried else 1.0)
    if retried:
        async with harness.database.write() as session:
            row = await harness.ledger.retry(session, old, from_checkpoint=True, key_id=None, threads=1)
            assert row is not None
            retry = row.id
    asked = retrying.discard

    async def discard(*arguments: Any, **named: Any) -> dict[str, bool]:
        found = await asked(*arguments, **named)
        if retried:
            await harness.act("cancel", retry)
        else:
            await _end(harness, old, JobState.FAILED, 100.0)
        return found

    monkeypatch.setattr(retrying, "discard", discard)
    for each in await worker_policy.find_stale(harness.settings, harness.database):
        each.remove()
    assert (await harness.row(old)).checkpoint is not None
    assert checkpoint.exists()
    monkeypatch.undo()
    for each in await worker_policy.find_stale(harness.settings, harness.database):
        each.remove()
    assert (await harness.row(old)).checkpoint is None
    assert not checkpoint.exists()


async def test_another_database_removes_no_checkpoints_of_unfinished_jobs(
    harness: WorkerHarness, tmp_path: Path
) -> None:
    """`stillhouse gc` with the wrong database knows none of the jobs that run here."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    upgrade(url)
    living = await harness.submit()
    checkpoint = _file(harness.paths.checkpoints(living) / "step-00000001-a1" / "state.json")
    harness.settings = harness.settings.model_copy(update={"database_url": url})
    await asyncio.to_thread(_gc, harness)
    assert checkpoint.exists()
    _age(harness.paths.job(living), 3600.0 * (harness.settings.checkpoint_kept_hours + 1))
    await asyncio.to_thread(_gc, harness)
    assert not checkpoint.exists()


async def test_caches_are_bounded_by_size_and_what_is_in_use_stays(harness: WorkerHarness) -> None:
    """Longest unused first. A job that is not over names its inputs in its order; users of targets hold their locks."""
    harness.settings = harness.settings.model_copy(update={"cache_bytes": 1500})
    job = await harness.submit()
    read, first, second, last = (
        _file(harness.paths.inputs / name, LONG_AGO + 100 - i) for i, name in enumerate(("read", "a", "b", "c"))
    )
    order = harness.paths.attempt(job, 1) / "order.json"
    order.parent.mkdir(parents=True)
    order.write_text(f'{{"models": {{}}, "datasets": {{"d": {{"path": "{read}"}}}}}}')
    targets = harness.paths.cache / "targets"
    for i, name in enumerate(("held", "used", "lately", ".draft-dead", ".draft-alive")):
        _file(targets / name / "manifest.json", LONG_AGO - i)
    locks = [os.open(targets / name, os.O_RDWR | os.O_CREAT) for name in ("held.lock", "alive.write")]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_SH)
    _file(harness.paths.inputs / ".a.killed.part", age=0.0)
    assert await _all(harness) == {
        ("input", "a"), ("input", "b"), ("input", "c"), ("temporary", ".draft-dead"), ("temporary", ".a.killed.part"),
        ("soft targets", "used"), ("soft targets", "lately"),
    }  # fmt: skip
    harness.settings = harness.settings.model_copy(update={"cache_bytes": 2500})
    assert await _all(harness) == {
        ("input", "a"), ("input", "b"), ("temporary", ".draft-dead"), ("temporary", ".a.killed.part"),
        ("soft targets", "used"),
    }  # fmt: skip
    await asyncio.to_thread(_gc, harness)
    assert [path.exists() for path in (read, first, second, last)] == [True, False, False, True]
    left = sorted(path.name for path in targets.iterdir() if path.is_dir())
    assert left == [".draft-alive", "held", "lately"]
    for lock in locks:
        os.close(lock)


async def test_every_store_of_rows_is_bounded_as_soft_targets_are(harness: WorkerHarness) -> None:
    harness.settings = harness.settings.model_copy(update={"cache_bytes": 1500})
    expected, locks = set(), []
    stores = [each for each in SHARED_CACHES if each not in BOUNDED_BY_NUMBER]
    for store in stores:
        rows = harness.paths.cache / store
        for i, name in enumerate(("held", "used", "lately", ".draft-dead")):
            _file(rows / name / "manifest.json", LONG_AGO - i)
        locks.append(os.open(rows / "held.lock", os.O_RDWR | os.O_CREAT))
        fcntl.flock(locks[-1], fcntl.LOCK_SH)
        kind = worker_policy.STORES_OF_ROWS[store]
        expected |= {("temporary", ".draft-dead"), (kind, "used"), (kind, "lately")}
    assert await _all(harness) == expected
    assert len(expected) == 1 + 2 * len(stores)
    for lock in locks:
        os.close(lock)


async def test_an_input_that_a_claim_takes_after_it_was_listed_stays(harness: WorkerHarness) -> None:
    job = await harness.submit("work", steps=4, hold=2)
    (blob,) = [path for path in (harness.settings.data_dir / "blobs").rglob("*") if path.is_file()]
    copied = _file(harness.paths.inputs / f"{blob.parent.name}{blob.name}")
    copied.write_bytes(blob.read_bytes())  # as from a store on another file system
    os.utime(copied, (time.time() - LONG_AGO,) * 2)
    bound = harness.settings.model_copy(update={"cache_bytes": 0})
    listed = await worker_policy.find_stale(bound, harness.database)
    assert [(each.kind, each.name) for each in listed] == [("input", copied.name)]
    async with harness.supervising():
        await harness.stepping(job, 2)
        for each in listed:
            each.remove()
        assert copied.exists()


async def test_collecting_beside_jobs_and_uploads_loses_nothing(harness: WorkerHarness) -> None:
    """The command's own functions run again and again while jobs are claimed, train, publish and end."""
    harness.settings = harness.settings.model_copy(update={"cache_bytes": 0})
    old = [await _unreferenced(harness, f"old-{i}", days=2) for i in range(5)]
    services, stop = open_services(harness.settings), asyncio.Event()

    async def collecting() -> int:
        rounds = 0
        while not stop.is_set():
            await collect(services)
            for each in await worker_policy.find_stale(harness.settings, harness.database):
                await asyncio.to_thread(each.remove)
            rounds += 1
            await asyncio.sleep(0.02)
        return rounds

    collectors = [asyncio.create_task(collecting()) for _ in range(2)]
    async with harness.supervising(slots=2):
        jobs = [await harness.submit("work", steps=8, every=2, pause=0.02) for _ in range(6)]
        datasets = [await harness.dataset(f"meanwhile-{i}") for i in range(6)]
        ended = [await harness.ends(job) for job in jobs]
        assert [job.state for job in ended] == [JobState.SUCCEEDED] * len(jobs)
        assert [job.attempt for job in ended] == [1] * len(jobs)
    stop.set()
    rounds = await asyncio.gather(*collectors)
    await services.database.close()
    assert min(rounds) > 3
    assert all([await harness.student(job) for job in jobs])
    for dataset in datasets:
        row = await harness.dataset_row(dataset)
        assert row.state == "ready"
    contents = [digest(f"rows of meanwhile-{i}") for i in range(len(datasets))]
    assert [await harness.store.exists(sha256) for sha256 in contents] == [True] * len(datasets)
    assert [await harness.store.exists(sha256) for sha256 in old] == [False] * len(old)
