"""Locks of supervisors: those of dead ones are removed, those of live ones stay."""

import signal

import pytest

from app.db.errors import DatabaseUnavailable
from tests.integration.worker.harness import WorkerHarness, eventually
from workers.runtime import locks
from workers.runtime.supervisor.ending import Ending


async def test_the_lock_of_a_dead_supervisor_is_removed_though_it_held_no_job(harness: WorkerHarness) -> None:
    async def owned(count: int) -> bool:
        found = harness.paths.owner_locks()
        return len(found) == count and not any(locks.is_free(path) for path in found)

    dying = harness.process()
    await eventually(lambda: owned(1))
    (of_the_dead,) = harness.paths.owner_locks()
    dying.send(signal.SIGKILL)
    await dying.ended()
    harness.process()
    await eventually(lambda: owned(1))
    assert harness.paths.owner_locks() != [of_the_dead]


async def test_a_job_that_a_worker_could_not_give_back_waits_for_no_lease(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.lease(3600)

    async def unavailable(_: Ending) -> None:
        raise DatabaseUnavailable("it is restarted at the same time")

    with monkeypatch.context() as patched:
        patched.setattr(Ending, "given_back", unavailable)
        async with harness.supervising():
            job = await harness.submit("work", hold=1)
            await harness.stepping(job)
    (lock,) = harness.paths.owner_locks()
    assert locks.is_free(lock)
    async with harness.supervising():
        await harness.began(job, attempt=2)
    assert harness.paths.owner_locks() == []
