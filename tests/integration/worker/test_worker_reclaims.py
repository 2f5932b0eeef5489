"""A supervisor loses a job and claims it again by another of its slots, while the first attempt is still ending."""

import asyncio
import os
import signal

import pytest

from app.contracts.problems import JobError
from app.contracts.states import JobState
from app.queue.ledger import Ledger
from app.queue.records import Claim
from tests.integration.worker.harness import WorkerHarness, eventually

SHORT = 2.0
"""A lease that a test can wait for."""


class Slow:
    """A call that reports a crashed attempt, delayed the first time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reported, self.goes_on = asyncio.Event(), asyncio.Event()
        original = Ledger.lose

        async def lose(ledger: Ledger, claim: Claim, error: JobError) -> bool:
            if not self.reported.is_set():
                self.reported.set()
                await self.goes_on.wait()
            return await original(ledger, claim, error)

        monkeypatch.setattr(Ledger, "lose", lose)


async def test_a_job_claimed_again_by_the_same_supervisor_is_renewed_and_drained(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the first attempt takes nothing away from the second."""
    harness.lease(SHORT)
    word = Slow(monkeypatch)
    async with harness.supervising(slots=2) as supervisor:
        job_id = await harness.submit("stubborn")
        os.kill(await harness.began(job_id), signal.SIGKILL)
        await word.reported.wait()
        assert await harness.ledger.lose_owner(supervisor.owner) == 1  # as the sweep does when the lease has run out
        await harness.began(job_id, attempt=2)
        word.goes_on.set()

        async def first_is_gone() -> bool:
            return not harness.paths.attempt(job_id, 1).exists()

        await eventually(first_is_gone)
        before = (await harness.row(job_id)).lease_expires
        assert before is not None
        renewed = await harness.until(job_id, lambda row: row.attempt != 2 or (row.lease_expires or 0.0) > before)
        assert renewed.attempt == 2
        crashes = renewed.crashes
    drained = await harness.row(job_id)
    assert (drained.state, drained.attempt, drained.crashes) == (JobState.QUEUED, 2, crashes)
