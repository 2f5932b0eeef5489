"""Pause and cancel take effect whatever the child does, keep what is there, and free the slot."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.contracts.states import JobState
from tests.faults.services.control_service import ControlledService
from tests.integration.worker.harness import WorkerHarness, gone, lives

ENDS = {"pause": JobState.PAUSED, "cancel": JobState.CANCELLED}


@pytest.fixture
async def harness(database_url: str, tmp_path: Path) -> AsyncIterator[WorkerHarness]:
    harness = WorkerHarness(database_url, tmp_path / "data", lease_seconds=30.0)
    yield harness
    await harness.close()


@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_a_stopped_process_is_killed_after_its_time_and_keeps_its_last_checkpoint(
    harness: WorkerHarness, action: str
) -> None:
    async with harness.supervising(stop_seconds=0.3):
        job_id = await harness.submit("work", steps=20, every=4, hold=10)
        pid = await harness.stepping(job_id, 10)
        os.kill(pid, signal.SIGSTOP)
        await harness.act(action, job_id)
        job = await harness.reaches(job_id, ENDS[action])
        assert not lives(pid)
        assert (job.crashes, job.checkpoint_step) == (0, 8)  # it could not write the one at step 10
        other = await harness.ends(await harness.submit("work"))  # there is one slot: it is free
        assert other.state is JobState.SUCCEEDED


@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_one_that_follows_writes_a_checkpoint_of_this_very_step(harness: WorkerHarness, action: str) -> None:
    async with harness.supervising():
        job_id = await harness.submit("work", steps=20, every=4, hold=10)
        pid = await harness.stepping(job_id, 10)
        await harness.act(action, job_id)
        job = await harness.reaches(job_id, ENDS[action])
        await gone(pid)
        assert (job.crashes, job.checkpoint_step) == (0, 10)
        if action == "cancel":
            assert (await harness.events(job_id))[-1].data["kept"]["step"] == 10


async def test_a_paused_job_makes_room_and_a_cancel_of_it_keeps_its_checkpoint(harness: WorkerHarness) -> None:
    async with harness.supervising():
        paused = await harness.submit("work", steps=20, hold=10)
        await harness.stepping(paused, 10)
        await harness.act("pause", paused)
        assert (await harness.ends(await harness.submit("work"))).state is JobState.SUCCEEDED
        await harness.act("cancel", paused)
        job = await harness.ends(paused)
    assert (job.state, job.checkpoint_step) == (JobState.CANCELLED, 10)


def test_stopped_and_taken_up_again_the_student_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    """Paused and resumed, cancelled and retried from its checkpoint: as if it had never been stopped."""
    with ControlledService(tmp_path / "data") as service:
        dataset = service.dataset(tmp_path)
        probe = service.succeed(service.submit(service.training(dataset, 500, seed=1)))
        taken = service.get(f"/v1/jobs/{probe['id']}/report")["seconds"]["training"]
        spec = service.training(dataset, int(500 * 2.0 / taken), seed=2)

        job_id = service.submit(spec)
        service.await_checkpoint(job_id)
        assert service.act(job_id, "pause")[0]["state"] == "pausing"
        assert service.state(job_id, "paused")["checkpoint"] is not None
        service.act(job_id, "resume")
        service.state(job_id, "running")
        service.await_checkpoint(job_id)
        service.act(job_id, "cancel")
        cancelled = service.state(job_id, "cancelled")
        assert cancelled["checkpoint"]["step"] > 0

        answer = service.http.post(f"/v1/jobs/{job_id}/retry", json={"from_checkpoint": True})
        assert answer.status_code == 202, answer.text
        retried = service.succeed(answer.json()["id"])
        undisturbed = service.succeed(service.submit(spec))
        first, second = (service.get(f"/v1/jobs/{job['id']}/report") for job in (retried, undisturbed))
        assert first["bit_exact"]
        assert first["digests"]["student"] == second["digests"]["student"]
        steps = [event["step"] for event in service.events(retried["id"], "progress")]
        assert min(steps) > cancelled["checkpoint"]["step"]  # it did not begin anew
