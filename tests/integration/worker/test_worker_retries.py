"""A retry goes on from the checkpoint of the job that was stopped, on the worker's disk."""

import asyncio
import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from app.contracts.states import JobState
from app.db.clock import utcnow
from app.db.rows import JobRow
from tests.integration.worker.harness import WorkerHarness, eventually
from workers.runtime.disk import checkpoint_handover
from workers.runtime.paths import Paths


async def stopped(harness: WorkerHarness) -> str:
    """A job that was cancelled at its tenth step of twenty, its folder swept."""
    job_id = await harness.submit("work", steps=20, every=4, hold=10)
    await harness.stepping(job_id, 10)
    await harness.act("cancel", job_id)
    assert (await harness.ends(job_id)).state is JobState.CANCELLED

    async def swept() -> bool:
        return [path.name for path in harness.paths.job(job_id).iterdir()] == ["checkpoints"]

    await eventually(swept)
    return job_id


async def retry(harness: WorkerHarness, job_id: str) -> JobRow:
    async with harness.database.write() as session:
        row = await harness.ledger.retry(session, job_id, from_checkpoint=True, key_id=None, threads=1)
        assert row is not None
        return row


async def hold_at(harness: WorkerHarness, job_id: str, step: int, behave: str = "work") -> None:
    """Where the retry's first child waits, and what it does."""
    async with harness.database.write() as session:
        row = await session.get_one(JobRow, job_id)
        labels = {**row.spec["labels"], "hold": str(step), "behave": behave}
        row.spec = {**row.spec, "labels": labels}
        row.resolved_spec = {**(row.resolved_spec or {}), "labels": labels}


async def test_a_retry_goes_on_where_the_old_job_stopped_and_gives_the_same_student(harness: WorkerHarness) -> None:
    harness.lease(2.0)  # swept four times a lease
    async with harness.supervising():
        undisturbed = await harness.ends(await harness.submit("work", steps=20, every=4))
        old = await stopped(harness)
        job = await harness.ends((await retry(harness, old)).id)
        assert job.state is JobState.SUCCEEDED
        assert [began["step"] for began in await harness.warnings(job.id, "began")] == [10]
        assert await harness.student(job.id) == await harness.student(undisturbed.id)
        await harness.swept(job.id)
        assert harness.paths.checkpoints(old).is_dir()  # another retry may start from it as well


async def test_a_retry_whose_first_attempt_is_killed_keeps_what_it_took_over(harness: WorkerHarness) -> None:
    harness.lease(2.0)
    async with harness.supervising():
        old = await stopped(harness)
        await hold_at(harness, old, 12)
        new = (await retry(harness, old)).id
        os.kill(await harness.stepping(new, 12), signal.SIGKILL)
        job = await harness.ends(new)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert [began["step"] for began in await harness.warnings(new, "began")] == [10, 12]


async def test_a_retry_that_ends_before_its_own_first_checkpoint_keeps_what_it_took_over(
    harness: WorkerHarness,
) -> None:
    """Also when the old job's time is up: the next retry goes on from there."""
    harness.lease(2.0)
    async with harness.supervising():
        old = await stopped(harness)
        await hold_at(harness, old, 99, behave="refuse")
        new = await harness.ends((await retry(harness, old)).id)
        source = await harness.row(old)
        assert new.state is JobState.FAILED
        assert source.checkpoint is not None
        assert (new.checkpoint, new.checkpoint_sha256, new.checkpoint_step) == (
            source.checkpoint, source.checkpoint_sha256, source.checkpoint_step,
        )  # fmt: skip
        async with harness.database.write() as session:
            (await session.get_one(JobRow, old)).finished_at = utcnow() - timedelta(hours=100)
        await harness.swept(old)
        assert harness.paths.checkpoints(new.id).is_dir()
        await hold_at(harness, new.id, 99)
        last = await harness.ends((await retry(harness, new.id)).id)
    assert (last.state, last.checkpoint_from) == (JobState.SUCCEEDED, new.id)
    assert [began["step"] for began in await harness.warnings(last.id, "began")] == [10]


async def test_without_the_old_folder_it_begins_anew_and_says_so(harness: WorkerHarness) -> None:
    harness.lease(2.0)
    async with harness.supervising():
        old = await stopped(harness)
        shutil.rmtree(harness.paths.job(old))
        await hold_at(harness, old, 99)
        job = await harness.ends((await retry(harness, old)).id)
    assert job.state is JobState.SUCCEEDED
    assert [began["step"] for began in await harness.warnings(job.id, "began")] == [0]
    codes = [event.data["code"] for event in await harness.events(job.id) if event.type == "warning"]
    assert codes.count("checkpoint_missing") == 1


def is_removed(folder: Path) -> bool:
    """Remove a folder, as far as the supervisor does not remove that of the attempt in it just now."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


async def test_a_paused_job_whose_folder_is_gone_begins_anew_and_says_so(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job_id = await harness.submit("work", steps=20, every=4, hold=10)
        await harness.stepping(job_id, 10)
        await harness.act("pause", job_id)
        await harness.reaches(job_id, JobState.PAUSED)
        await eventually(lambda: asyncio.to_thread(is_removed, harness.paths.job(job_id)))
        await hold_at(harness, job_id, 99)
        await harness.act("resume", job_id)
        job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert [began["step"] for began in await harness.warnings(job_id, "began")] == [0, 0]
    warnings = [event.data for event in await harness.events(job_id) if event.type == "warning"]
    assert [each["message"] for each in warnings if each["code"] == "checkpoint_missing"] == [
        "the checkpoints of the job are not on this worker's disk: training starts from the beginning"
    ]


async def test_checkpoints_are_removed_when_they_were_kept_long_enough(harness: WorkerHarness) -> None:
    harness.lease(2.0)
    async with harness.supervising():
        old = await stopped(harness)
    harness.settings = harness.settings.model_copy(update={"checkpoint_kept_hours": 0.0})
    async with harness.supervising():
        await harness.swept(old)
    assert (await harness.row(old)).checkpoint is None


def _checkpoint(paths: Paths, job_id: str, name: str) -> Path:
    folder = paths.checkpoints(job_id) / "stage" / name
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(name)
    return folder


def test_adopting_links_whole_folders_and_leaves_drafts(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    there = _checkpoint(paths, "job_1", "step-00000004-a1")
    _checkpoint(paths, "job_1", ".draft-step-00000008-a1")
    assert checkpoint_handover.take_over_checkpoints(paths, "job_1", "job_2", attempt=1)
    taken = paths.checkpoints("job_2") / "stage"
    assert [path.name for path in taken.iterdir()] == ["step-00000004-a1"]
    shutil.rmtree(there)  # the old job's are collected; the new one's stay
    assert (taken / "step-00000004-a1" / "state.json").read_text() == "step-00000004-a1"
    assert [path.name for path in paths.job("job_2").iterdir()] == ["checkpoints"]


def test_adopting_again_changes_nothing(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    _checkpoint(paths, "job_1", "step-00000004-a1")
    _checkpoint(paths, "job_2", "step-00000012-a1")
    assert checkpoint_handover.take_over_checkpoints(paths, "job_1", "job_2", attempt=2)
    assert [path.name for path in (paths.checkpoints("job_2") / "stage").iterdir()] == ["step-00000012-a1"]
    assert not checkpoint_handover.take_over_checkpoints(paths, "job_none", "job_3", attempt=1)


def test_a_file_system_without_links_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    paths = Paths(tmp_path)
    _checkpoint(paths, "job_1", "step-00000004-a1")
    monkeypatch.setattr(os, "link", refuse)
    assert checkpoint_handover.take_over_checkpoints(paths, "job_1", "job_2", attempt=1)
    copied = paths.checkpoints("job_2") / "stage" / "step-00000004-a1" / "state.json"
    assert copied.stat().st_nlink == 1
