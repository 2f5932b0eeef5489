"""A job whose process lives and does nothing is ended, and what is slow is not."""

import asyncio
import logging

import pytest

from app.contracts.states import JobState
from tests.integration.worker.harness import WorkerHarness, gone

LIMIT = 3.0
"""Seconds without progress: ten times what a child that moves takes here."""


async def test_a_stalled_job_is_ended_by_name_and_its_slot_is_free_while_slow_jobs_go_on(
    harness: WorkerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.settings = harness.settings.model_copy(update={"stalled_seconds": LIMIT})
    caplog.set_level(logging.WARNING, "stillhouse.worker")
    async with harness.supervising(slots=3):
        stalled = await harness.submit("work", steps=9, hold=2)
        slow = await harness.submit("work", steps=14, pause=0.3)
        beating = await harness.submit("beating", seconds=1.4 * LIMIT)
        pid = await harness.stepping(stalled, 2)
        job = await harness.ends(stalled)
        await gone(pid)
        after, *others = await asyncio.gather(
            harness.ends(await harness.submit("work")), harness.ends(slow), harness.ends(beating)
        )
    assert (job.state, job.attempt, job.crashes) == (JobState.FAILED, 1, 0)
    assert job.error is not None
    assert job.error["code"] == "stalled"
    assert "found none for 3 s (phase `training`, step 2 of 9)" in job.error["message"]
    assert "STILLHOUSE_STALLED_SECONDS" in job.error["message"]
    assert [each.state for each in (after, *others)] == [JobState.SUCCEEDED] * 3
    assert [each.attempt for each in others] == [1, 1]
    (line,) = [record.getMessage() for record in caplog.records if "stopped the job" in record.getMessage()]
    assert line.startswith(f"{stalled}: attempt 1: expected a step")


async def test_an_inspection_and_an_export_that_are_stopped_are_ended_too(harness: WorkerHarness) -> None:
    """`slow` and `stubborn` write nothing any more, as a stopped process does."""
    harness.settings = harness.settings.model_copy(update={"stalled_seconds": LIMIT})
    async with harness.supervising(slots=2, lanes=("inspect",)):
        _, inspection = await harness.inspection("slow")
        inspected, exported = await asyncio.gather(
            harness.ends(inspection), harness.ends(await harness.export("stubborn"))
        )
    for job, advice in ((inspected, "have it inspected again by PATCH"), (exported, "send the export again")):
        assert job.error is not None
        assert (job.state, job.error["code"]) == (JobState.FAILED, "stalled")
        assert advice in job.error["message"]
