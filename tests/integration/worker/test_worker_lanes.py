"""Slots, lanes and locks."""

import os

from app.contracts.states import JobState
from tests.integration.worker.harness import WorkerHarness, eventually
from workers.runtime import locks
from workers.runtime.supervisor.deadlines import Deadlines


async def test_long_trainings_never_block_an_inspection(harness: WorkerHarness) -> None:
    async with harness.supervising(lanes=("train", "inspect")):
        training = await harness.submit("work", hold=1)
        waiting = await harness.submit("work")
        await harness.stepping(training)
        dataset_id, inspection = await harness.inspection("whole")
        assert (await harness.ends(inspection)).state is JobState.SUCCEEDED
        assert (await harness.row(training)).state is JobState.RUNNING
        assert (await harness.row(waiting)).state is JobState.QUEUED
        await harness.act("cancel", training)
        await harness.ends(waiting)
    dataset = await harness.dataset_row(dataset_id)
    assert dataset.state == "ready"
    assert dataset.facts is not None
    assert dataset.facts["rows"] == 100


async def test_a_worker_of_one_lane_leaves_the_other_alone(harness: WorkerHarness) -> None:
    async with harness.supervising(lanes=("inspect",)):
        training = await harness.submit("work")
        _, inspection = await harness.inspection("whole")
        await harness.ends(inspection)
        assert (await harness.row(training)).state is JobState.QUEUED


async def test_an_inspection_past_its_time_is_killed_and_its_upload_rejected(harness: WorkerHarness) -> None:
    async with harness.supervising(lanes=("inspect",), deadlines=Deadlines(inspection=0.5)):
        dataset_id, inspection = await harness.inspection("slow")
        job = await harness.ends(inspection)
    assert job.state is JobState.FAILED
    assert job.attempt == 1
    rejection = (await harness.dataset_row(dataset_id)).rejection
    assert rejection is not None
    assert rejection["code"] == "inspection_timeout"


async def test_an_export_has_a_deadline_and_an_error_of_its_own(harness: WorkerHarness) -> None:
    async with harness.supervising(lanes=("inspect",), deadlines=Deadlines(inspection=0.01, export=0.5)):
        quick, slow = await harness.export("refuse"), await harness.export("stubborn")
        quick_job, slow_job = await harness.ends(quick), await harness.ends(slow)
    assert quick_job.error is not None
    assert quick_job.error["code"] == "teacher_mismatch", "it came to its own end"
    assert slow_job.error is not None
    assert slow_job.error["code"] == "export_timeout"
    assert slow_job.attempt == 1
    assert "dataset with fewer rows" in slow_job.error["message"]


async def test_a_slot_whose_lock_is_held_claims_nothing(harness: WorkerHarness) -> None:
    async with harness.supervising():
        await harness.ends(await harness.submit("work"))
        (lock_file,) = harness.paths.locks.glob("slot-*.lock")

        async def taken() -> int | None:
            return locks.take(lock_file)

        lock = await eventually(taken)
        job_id = await harness.submit("work")
        _ = [await harness.row(job_id) for _ in range(50)]
        assert (await harness.row(job_id)).state is JobState.QUEUED
        os.close(lock)
        assert (await harness.ends(job_id)).state is JobState.SUCCEEDED


async def test_a_running_child_holds_the_lock_of_its_slot(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job_id = await harness.submit("work", hold=1)
        pid = await harness.stepping(job_id)
        (lock_file,) = harness.paths.locks.glob("slot-*.lock")
        held = {os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH116, PTH208
        assert lock_file.stat().st_ino in held
        assert not locks.is_free(lock_file)
        await harness.act("cancel", job_id)
        await harness.ends(job_id)


async def test_two_workers_on_one_data_directory_have_slots_of_their_own(harness: WorkerHarness) -> None:
    async with harness.supervising(), harness.supervising():
        jobs = [await harness.submit("work", hold=1) for _ in range(2)]
        for job_id in jobs:
            await harness.stepping(job_id)
        for job_id in jobs:
            await harness.act("cancel", job_id)
            await harness.ends(job_id)


async def test_an_input_is_fetched_once_and_used_again(harness: WorkerHarness) -> None:
    async with harness.supervising():
        await harness.ends(await harness.submit("work"))
        (kept,) = harness.paths.inputs.iterdir()
        before = kept.stat().st_ino
        await harness.ends(await harness.submit("work"))
    assert [path.stat().st_ino for path in harness.paths.inputs.iterdir()] == [before]


async def test_a_damaged_input_is_no_input(harness: WorkerHarness) -> None:
    job_id = await harness.submit("work")
    (blob,) = [path for path in (harness.settings.data_dir / "blobs").rglob("*") if path.is_file()]
    blob.chmod(0o600)
    blob.write_bytes(b"rows of liars!")
    async with harness.supervising():
        job = await harness.ends(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "storage"
