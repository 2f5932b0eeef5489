"""A preflight in a worker: claimed, published, stopped and given up like any job."""

import pytest
from sqlalchemy import select

from app.contracts.specs.architectures import Mlp
from app.contracts.specs.jobs import PreflightJob, TrainJob
from app.contracts.states import JobState
from app.db.rows import ArtifactRow, ModelRow, ReportRow
from app.queue.records import NewJob
from tests.integration.worker.harness import WorkerHarness, gone
from tests.integration.worker.preflight_entry import REPORT

ENTRY = "tests.integration.worker.preflight_entry:behave"


async def submit(harness: WorkerHarness, behave: str) -> str:
    """A preflight whose child behaves so."""
    job = TrainJob(kind="train", dataset=await harness.dataset(), model=Mlp(family="mlp"))
    spec = PreflightJob(kind="preflight", job=job, labels={"behave": behave})
    async with harness.database.write() as session:
        return (await harness.ledger.submit(session, NewJob(spec=spec, threads=1))).id


async def test_its_report_is_published_and_no_model(harness: WorkerHarness) -> None:
    harness.process(entry=ENTRY)
    job = await harness.ends(await submit(harness, "look"))
    assert (job.state, job.attempt, job.student_id, job.outputs) == (JobState.SUCCEEDED, 1, None, [])
    assert job.resolved_spec is not None
    assert job.resolved_spec["job"]["target"] == "digit"
    async with harness.database.read() as session:
        assert (await session.get_one(ReportRow, job.id)).report == {"kind": "preflight"}
        file = await session.get_one(ArtifactRow, (job.id, "report"))
        assert (await session.scalars(select(ModelRow))).all() == []
    path = harness.store.local_path(file.sha256)
    assert path is not None
    assert path.read_bytes() == REPORT


@pytest.mark.parametrize(("behave", "expected"), [("killed", "SIGKILL"), ("damaged", "differs from its description")])
async def test_three_crashes_end_it_as_failed(harness: WorkerHarness, behave: str, expected: str) -> None:
    harness.process(entry=ENTRY)
    job = await harness.ends(await submit(harness, behave))
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    assert job.error is not None
    assert job.error["class"] == "infrastructure"
    assert expected in job.error["message"]
    async with harness.database.read() as session:
        assert await session.get(ReportRow, job.id) is None


async def test_a_cancel_is_followed(harness: WorkerHarness) -> None:
    harness.process(entry=ENTRY)
    job_id = await submit(harness, "told_to_stop")
    pid = await harness.began(job_id)
    await harness.act("cancel", job_id)
    assert (await harness.ends(job_id)).state is JobState.CANCELLED
    await gone(pid)


async def test_a_paused_preflight_begins_again_when_it_is_resumed(harness: WorkerHarness) -> None:
    harness.process(entry=ENTRY)
    job_id = await submit(harness, "told_to_stop")
    await harness.began(job_id)
    await harness.act("pause", job_id)
    paused = await harness.reaches(job_id, JobState.PAUSED)
    assert paused.crashes == 0
    await harness.act("resume", job_id)
    job = await harness.ends(job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
