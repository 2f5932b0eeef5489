"""A retry goes on from the checkpoint of the job that was stopped, on the worker's disk."""

import os
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from app.contracts.states import JobState
from app.db.clock import utcnow
from app.db.rows import JobRow
from tests.integration.worker.house import House, eventually
from workers.runtime.disk import checkpoint_handover
from workers.runtime.paths import Paths


async def stopped(house: House) -> str:
    """A job that was cancelled at its tenth step of twenty, its folder swept."""
    job_id = await house.submit("work", steps=20, every=4, hold=10)
    await house.stepping(job_id, 10)
    await house.act("cancel", job_id)
    assert (await house.ends(job_id)).state is JobState.CANCELLED

    async def swept() -> bool:
        return [path.name for path in house.paths.job(job_id).iterdir()] == ["checkpoints"]

    await eventually(swept)
    return job_id


async def retry(house: House, job_id: str) -> JobRow:
    async with house.database.write() as session:
        row = await house.ledger.retry(session, job_id, from_checkpoint=True, key_id=None, threads=1)
        assert row is not None
        return row


async def hold_at(house: House, job_id: str, step: int, behave: str = "work") -> None:
    """Where the retry's first child waits, and what it does."""
    async with house.database.write() as session:
        row = await session.get_one(JobRow, job_id)
        labels = {**row.spec["labels"], "hold": str(step), "behave": behave}
        row.spec = {**row.spec, "labels": labels}
        row.resolved_spec = {**(row.resolved_spec or {}), "labels": labels}


async def test_a_retry_goes_on_where_the_old_job_stopped_and_gives_the_same_student(house: House) -> None:
    house.lease(2.0)  # swept four times a lease
    async with house.supervising():
        undisturbed = await house.ends(await house.submit("work", steps=20, every=4))
        old = await stopped(house)
        job = await house.ends((await retry(house, old)).id)
        assert job.state is JobState.SUCCEEDED
        assert [said["step"] for said in await house.said(job.id, "began")] == [10]
        assert await house.student(job.id) == await house.student(undisturbed.id)
        await house.swept(job.id)
        assert house.paths.checkpoints(old).is_dir()  # another retry may start from it as well


async def test_a_retry_whose_first_attempt_is_killed_keeps_what_it_took_over(house: House) -> None:
    house.lease(2.0)
    async with house.supervising():
        old = await stopped(house)
        await hold_at(house, old, 12)
        new = (await retry(house, old)).id
        os.kill(await house.stepping(new, 12), signal.SIGKILL)
        job = await house.ends(new)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert [said["step"] for said in await house.said(new, "began")] == [10, 12]


async def test_a_retry_that_ends_before_its_own_first_checkpoint_keeps_what_it_took_over(house: House) -> None:
    """Also when the old job's time is up: the next retry goes on from there."""
    house.lease(2.0)
    async with house.supervising():
        old = await stopped(house)
        await hold_at(house, old, 99, behave="refuse")
        new = await house.ends((await retry(house, old)).id)
        source = await house.row(old)
        assert new.state is JobState.FAILED
        assert source.checkpoint is not None
        assert (new.checkpoint, new.checkpoint_sha256, new.checkpoint_step) == (
            source.checkpoint, source.checkpoint_sha256, source.checkpoint_step,
        )  # fmt: skip
        async with house.database.write() as session:
            (await session.get_one(JobRow, old)).finished_at = utcnow() - timedelta(hours=100)
        await house.swept(old)
        assert house.paths.checkpoints(new.id).is_dir()
        await hold_at(house, new.id, 99)
        last = await house.ends((await retry(house, new.id)).id)
    assert (last.state, last.checkpoint_from) == (JobState.SUCCEEDED, new.id)
    assert [said["step"] for said in await house.said(last.id, "began")] == [10]


async def test_without_the_old_folder_it_begins_anew_and_says_so(house: House) -> None:
    house.lease(2.0)
    async with house.supervising():
        old = await stopped(house)
        shutil.rmtree(house.paths.job(old))
        await hold_at(house, old, 99)
        job = await house.ends((await retry(house, old)).id)
    assert job.state is JobState.SUCCEEDED
    assert [said["step"] for said in await house.said(job.id, "began")] == [0]
    codes = [event.data["code"] for event in await house.events(job.id) if event.type == "warning"]
    assert codes.count("checkpoint_missing") == 1


async def test_a_paused_job_whose_folder_is_gone_begins_anew_and_says_so(house: House) -> None:
    async with house.supervising():
        job_id = await house.submit("work", steps=20, every=4, hold=10)
        await house.stepping(job_id, 10)
        await house.act("pause", job_id)
        await house.reaches(job_id, JobState.PAUSED)
        shutil.rmtree(house.paths.job(job_id))
        await hold_at(house, job_id, 99)
        await house.act("resume", job_id)
        job = await house.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert [said["step"] for said in await house.said(job_id, "began")] == [0, 0]
    warnings = [event.data for event in await house.events(job_id) if event.type == "warning"]
    assert [each["message"] for each in warnings if each["code"] == "checkpoint_missing"] == [
        "the checkpoints of the job are not on this worker's disk: training starts from the beginning"
    ]


async def test_checkpoints_are_removed_when_they_were_kept_long_enough(house: House) -> None:
    house.lease(2.0)
    async with house.supervising():
        old = await stopped(house)
    house.settings = house.settings.model_copy(update={"checkpoint_kept_hours": 0.0})
    async with house.supervising():
        await house.swept(old)
    assert (await house.row(old)).checkpoint is None


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
