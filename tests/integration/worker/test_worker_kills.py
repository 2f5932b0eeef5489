"""Whatever is killed or stopped, the job ends once and the dead write nothing."""

import os
import signal

from app.contracts.states import JobState
from tests.integration.worker.harness import WorkerHarness, gone, lives

SHORT = 2.0
"""A lease that a test can wait for."""


async def test_a_killed_child_is_requeued_and_ends_once(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job_id = await harness.submit("work", steps=20, every=4, hold=10)
        os.kill(await harness.stepping(job_id, 10), signal.SIGKILL)
        job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2
    assert (await harness.warnings(job_id, "began"))[1]["step"] == 8


async def test_a_killed_fork_server_takes_its_children_along_and_is_replaced(harness: WorkerHarness) -> None:
    async with harness.supervising() as supervisor:
        job_id = await harness.submit("work", steps=20, every=4, hold=10)
        pid, server = await harness.stepping(job_id, 10), supervisor.children.server_pid
        assert server is not None
        os.kill(server, signal.SIGKILL)
        await gone(pid)
        job = await harness.ends(job_id)
        assert supervisor.children.server_pid not in (None, server)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2


async def test_a_killed_supervisor_takes_everything_along_and_another_goes_on_at_once(harness: WorkerHarness) -> None:
    harness.lease(600.0)  # does not expire in this test
    worker = harness.process()
    job_id = await harness.submit("work", steps=20, every=4, hold=10)
    pid, server = await harness.stepping(job_id, 10), worker.fork_server()
    worker.send(signal.SIGKILL)
    await gone(pid)
    await gone(server)
    harness.process()
    job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2


async def test_a_stopped_supervisor_is_a_zombie_that_writes_nothing(harness: WorkerHarness) -> None:
    harness.lease(SHORT)
    stopped = harness.process()
    job_id = await harness.submit("work", steps=20, every=4, hold=10)
    pid = await harness.stepping(job_id, 10)
    await stopped.stop()
    await gone(pid)  # by its alarm, which is not renewed
    other = harness.process()
    job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 2
    events, student = await harness.events(job_id), await harness.student(job_id)
    stopped.send(signal.SIGCONT)
    after = await harness.ends(await harness.submit("work", steps=3))  # it works again, as does the other
    stopped.send(signal.SIGTERM)
    assert await stopped.ended() == 0
    other.send(signal.SIGTERM)
    assert await other.ended() == 0
    assert after.state is JobState.SUCCEEDED
    assert [event.seq for event in await harness.events(job_id)] == [event.seq for event in events]
    assert await harness.student(job_id) == student


async def test_a_child_that_nothing_reaches_dies_by_its_alarm(harness: WorkerHarness) -> None:
    harness.lease(SHORT)
    async with harness.supervising():
        job_id = await harness.submit("deaf")
        pid = await harness.began(job_id)
        await gone(pid)
        job = await harness.until(job_id, lambda row: row.attempt > 1)
    events = await harness.events(job_id)
    (first,) = [e.data for e in events if e.type == "state" and e.data["state"] == "queued" and e.data["attempt"] == 1]
    assert job.attempt > 1
    assert "SIGALRM" in first["error"]["message"]


async def test_a_child_lives_on_through_many_leases_while_it_is_renewed(harness: WorkerHarness) -> None:
    harness.lease(SHORT)
    async with harness.supervising():
        job = await harness.ends(await harness.submit("work", steps=40, pause=0.1))  # no checkpoint: in one go or never
    assert job.state is JobState.SUCCEEDED


async def test_a_stopped_fork_server_is_killed_and_replaced(harness: WorkerHarness) -> None:
    async with harness.supervising() as supervisor:
        await harness.ends(await harness.submit("work"))
        supervisor.children.reply_seconds, server = 0.5, supervisor.children.server_pid
        assert server is not None
        os.kill(server, signal.SIGSTOP)
        job = await harness.ends(await harness.submit("work"))
        assert not lives(server)
    assert job.state is JobState.SUCCEEDED


async def test_sigterm_drains_without_a_crash_on_the_jobs_account(harness: WorkerHarness) -> None:
    worker = harness.process()
    job_id = await harness.submit("work", steps=20, hold=10)
    pid = await harness.stepping(job_id, 10)
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert not lives(pid)
    drained = await harness.row(job_id)
    assert (drained.state, drained.crashes) == (JobState.QUEUED, 0)
    harness.process()
    job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    assert (await harness.warnings(job_id, "began"))[1]["step"] == 10


async def test_a_second_sigterm_waits_for_nobody(harness: WorkerHarness) -> None:
    worker = harness.process()
    job_id = await harness.submit("stubborn")
    pid = await harness.began(job_id)
    worker.send(signal.SIGTERM)

    await worker.says("draining")
    worker.send(signal.SIGTERM)
    assert await worker.ended() == 0
    assert (await harness.row(job_id)).state is JobState.QUEUED
    assert not lives(pid)
