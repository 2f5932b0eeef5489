"""One supervisor and its children: how jobs start, stop and end."""

import asyncio

import pytest

from app.contracts.states import JobState
from tests.integration.worker.harness import WorkerHarness, gone, lives


async def test_a_job_runs_to_its_end_and_leaves_a_student(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job = await harness.ends(await harness.submit("work", steps=3))
    assert job.state is JobState.SUCCEEDED
    assert (job.attempt, job.crashes, job.error) == (1, 0, None)
    assert len(await harness.student(job.id)) == 64
    assert await harness.states(job.id) == ["queued", "starting", "running", "succeeded"]


async def test_events_are_relayed_in_order_with_their_metrics(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job = await harness.ends(await harness.submit("work", steps=5, pause=0.05))
    events = await harness.events(job.id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    steps = [event.data["step"] for event in events if event.type == "progress"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 5
    assert job.progress["percent"] == 100.0


async def test_a_line_that_is_no_event_is_passed_over(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job = await harness.ends(await harness.submit("torn_events"))
    assert job.state is JobState.SUCCEEDED
    assert [e.data["phase"] for e in await harness.events(job.id) if e.type == "phase"] == ["loading", "training"]


async def test_the_users_fault_is_never_tried_again(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job = await harness.ends(await harness.submit("refuse"))
    assert job.state is JobState.FAILED
    assert job.attempt == 1
    assert job.error == {"code": "teacher_mismatch", "class": "user", "message": "expected 3 classes, found 2"}


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        ("segfault", "SIGSEGV"),
        ("out_of_memory", "MemoryError: too large"),
        ("silent", "without an outcome"),
        ("damaged", "differs from its description in the outcome"),
        ("escaping", "is not among the outputs"),
    ],
)
async def test_three_crashes_without_a_checkpoint_end_as_failed(
    harness: WorkerHarness, behave: str, expected: str
) -> None:
    async with harness.supervising():
        job = await harness.ends(await harness.submit(behave))
    assert job.state is JobState.FAILED
    assert job.attempt == 3
    assert job.error is not None
    assert job.error["class"] == "infrastructure"
    assert expected in job.error["message"]
    assert job.student_id is None


async def test_the_log_of_a_crash_is_kept(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job = await harness.ends(await harness.submit("out_of_memory"))
    kept = harness.paths.logs / f"{job.id}-attempt-3.txt"
    assert "about to fail" in kept.read_text()


async def test_a_crash_goes_on_from_the_last_checkpoint(harness: WorkerHarness) -> None:
    async with harness.supervising():
        undisturbed = await harness.ends(await harness.submit("work", steps=6, every=2))
        job = await harness.ends(await harness.submit("work", steps=6, every=2, die_at=5))
    assert job.state is JobState.SUCCEEDED
    assert [began["step"] for began in await harness.warnings(job.id, "began")] == [0, 4]
    assert await harness.student(job.id) == await harness.student(undisturbed.id)


async def test_a_cancel_is_followed(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job_id = await harness.submit("work", hold=1)
        pid = await harness.stepping(job_id)
        await harness.act("cancel", job_id)
        assert (await harness.row(job_id)).state in (JobState.CANCELLING, JobState.CANCELLED)
        job = await harness.ends(job_id)
        await gone(pid)
    assert job.state is JobState.CANCELLED
    assert job.student_id is None


async def test_who_does_not_follow_a_cancel_is_killed(harness: WorkerHarness) -> None:
    async with harness.supervising(stop_seconds=0.3):
        job_id = await harness.submit("stubborn")
        pid = await harness.began(job_id)
        await harness.act("cancel", job_id)
        job = await harness.ends(job_id)
        assert not lives(pid)
    assert job.state is JobState.CANCELLED


async def test_a_paused_job_goes_on_where_it_stopped(harness: WorkerHarness) -> None:
    async with harness.supervising():
        job_id = await harness.submit("work", steps=20, hold=5)
        pid = await harness.stepping(job_id, 5)
        await harness.act("pause", job_id)
        paused = await harness.reaches(job_id, JobState.PAUSED)
        await gone(pid)
        assert paused.crashes == 0
        await harness.act("resume", job_id)
        job = await harness.ends(job_id)
    assert job.state is JobState.SUCCEEDED
    first, second = await harness.warnings(job_id, "began")
    assert first["step"] == 0
    assert second["step"] == 5


async def test_two_slots_work_at_once(harness: WorkerHarness) -> None:
    async with harness.supervising(slots=2):
        jobs = [await harness.submit("work", hold=1) for _ in range(3)]
        await asyncio.gather(*(harness.stepping(job_id) for job_id in jobs[:2]))
        assert (await harness.row(jobs[2])).state is JobState.QUEUED
        await harness.act("cancel", jobs[0])
        await harness.stepping(jobs[2])
        for job_id in jobs[1:]:
            await harness.act("cancel", job_id)
            await harness.ends(job_id)


async def test_what_a_child_leaves_running_ends_with_it_and_frees_the_slot(harness: WorkerHarness) -> None:
    async with harness.supervising():
        assert (await harness.ends(await harness.submit("breed"))).state is JobState.SUCCEEDED
        assert (await harness.ends(await harness.submit("work"))).state is JobState.SUCCEEDED


async def test_the_folder_of_an_ended_job_is_removed(harness: WorkerHarness) -> None:
    harness.lease(2.0)  # swept four times a lease
    async with harness.supervising():
        job = await harness.ends(await harness.submit("work", steps=5, every=2))
        await harness.swept(job.id)


async def test_a_child_sees_no_secrets_and_lives_in_a_session_of_its_own(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_API_KEY", "sk-very-secret-indeed")
    monkeypatch.setenv("STILLHOUSE_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with harness.supervising():
        job = await harness.ends(await harness.submit("look_around"))
    (environment,) = await harness.warnings(job.id, "environment")
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert not [name for name in environment if name.startswith(("STILLHOUSE", "AWS"))]
    assert not [value for value in environment.values() if "secret" in value]
    assert await harness.warnings(job.id, "session") == [{"leader": True, "stdin": "/dev/null"}]
    assert await harness.warnings(job.id, "signals") == [{"ignored": ["SIGINT", "SIGTERM"], "alarm": True}]
    assert await harness.warnings(job.id, "device") == ["cpu"]
