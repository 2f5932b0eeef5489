"""Locks of supervisors: those of dead ones are removed, those of live ones stay."""

import signal

from tests.integration.worker.harness import WorkerHarness, eventually
from workers.runtime import locks


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
