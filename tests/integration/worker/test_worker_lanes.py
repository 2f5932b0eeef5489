"""Slots, lanes and locks."""

import os

from app.contracts.states import JobState
from tests.integration.worker.house import House, eventually
from workers.runtime import locks


async def test_long_trainings_never_block_an_inspection(house: House) -> None:
    async with house.supervising(lanes=("train", "inspect")):
        training = await house.submit("work", hold=1)
        waiting = await house.submit("work")
        await house.stepping(training)
        dataset_id, inspection = await house.inspection("whole")
        assert (await house.ends(inspection)).state is JobState.SUCCEEDED
        assert (await house.row(training)).state is JobState.RUNNING
        assert (await house.row(waiting)).state is JobState.QUEUED
        await house.act("cancel", training)
        await house.ends(waiting)
    dataset = await house.dataset_row(dataset_id)
    assert dataset.state == "ready"
    assert dataset.facts is not None
    assert dataset.facts["rows"] == 100


async def test_a_worker_of_one_lane_leaves_the_other_alone(house: House) -> None:
    async with house.supervising(lanes=("inspect",)):
        training = await house.submit("work")
        _, inspection = await house.inspection("whole")
        await house.ends(inspection)
        assert (await house.row(training)).state is JobState.QUEUED


async def test_an_inspection_past_its_time_is_killed_and_its_upload_rejected(house: House) -> None:
    async with house.supervising(lanes=("inspect",), inspection_seconds=0.5):
        dataset_id, inspection = await house.inspection("slow")
        job = await house.ends(inspection)
    assert job.state is JobState.FAILED
    assert job.attempt == 1
    rejection = (await house.dataset_row(dataset_id)).rejection
    assert rejection is not None
    assert rejection["code"] == "inspection_timeout"


async def test_a_slot_whose_lock_is_held_claims_nothing(house: House) -> None:
    async with house.supervising():
        await house.ends(await house.submit("work"))
        (lock_file,) = house.paths.locks.glob("slot-*.lock")

        async def taken() -> int | None:
            return locks.take(lock_file)

        lock = await eventually(taken)
        job_id = await house.submit("work")
        _ = [await house.row(job_id) for _ in range(50)]
        assert (await house.row(job_id)).state is JobState.QUEUED
        os.close(lock)
        assert (await house.ends(job_id)).state is JobState.SUCCEEDED


async def test_a_running_child_holds_the_lock_of_its_slot(house: House) -> None:
    async with house.supervising():
        job_id = await house.submit("work", hold=1)
        pid = await house.stepping(job_id)
        (lock_file,) = house.paths.locks.glob("slot-*.lock")
        held = {os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH116, PTH208
        assert lock_file.stat().st_ino in held
        assert not locks.is_free(lock_file)
        await house.act("cancel", job_id)
        await house.ends(job_id)


async def test_two_workers_on_one_data_directory_have_slots_of_their_own(house: House) -> None:
    async with house.supervising(), house.supervising():
        jobs = [await house.submit("work", hold=1) for _ in range(2)]
        for job_id in jobs:
            await house.stepping(job_id)
        for job_id in jobs:
            await house.act("cancel", job_id)
            await house.ends(job_id)


async def test_an_input_is_fetched_once_and_used_again(house: House) -> None:
    async with house.supervising():
        await house.ends(await house.submit("work"))
        (kept,) = house.paths.inputs.iterdir()
        before = kept.stat().st_ino
        await house.ends(await house.submit("work"))
    assert [path.stat().st_ino for path in house.paths.inputs.iterdir()] == [before]


async def test_a_damaged_input_is_no_input(house: House) -> None:
    job_id = await house.submit("work")
    (blob,) = [path for path in (house.settings.data_dir / "blobs").rglob("*") if path.is_file()]
    blob.chmod(0o600)
    blob.write_bytes(b"rows of liars!")
    async with house.supervising():
        job = await house.ends(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "storage"
