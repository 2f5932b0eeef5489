"""What the ledger writes down: events, metrics, progress, and the end of a job in one transaction."""

import pytest
from sqlalchemy import func, select

from app.contracts.specs.jobs import TrainJob
from app.contracts.states import JobState
from app.contracts.wire.events import MetricPoint, MetricsEvent, PhaseEvent, ProgressEvent, WarningEvent
from app.db.rows import ArtifactRow, BlobRow, FileRow, JobLabelRow, MetricRow, ModelRow, ReportRow
from app.queue.blobs import UnknownBlob
from app.queue.ledger import Event
from app.queue.records import NewJob, Publication, PublishedFile
from tests.integration.ledger.harness import ARCHITECTURE, FACTS, MODEL, LedgerHarness, checkpoint, digest


def points(series: str, *values: float | None, start: int = 1) -> MetricsEvent:
    return MetricsEvent(
        points=tuple(MetricPoint(series=series, step=step, epoch=0, value=v) for step, v in enumerate(values, start))
    )


async def series(harness: LedgerHarness, job: str, name: str) -> list[tuple[int, float | None]]:
    async with harness.database.read() as session:
        query = select(MetricRow).where(MetricRow.job_id == job, MetricRow.series == name).order_by(MetricRow.step)
        return [(row.step, row.value) for row in await session.scalars(query)]


async def test_a_submitted_job_says_what_was_asked(harness: LedgerHarness) -> None:
    spec = TrainJob(
        kind="train", name="a teacher", dataset=await harness.dataset(), model=ARCHITECTURE, labels={"b": "1", "a": "2"}
    )
    async with harness.database.write() as session:
        made = await harness.ledger.submit(session, NewJob(spec=spec, key_id="key_1", threads=2))
    row = await harness.row(made.id)
    assert (row.state, row.kind, row.lane, row.name) == (JobState.QUEUED, "train", "train", "a teacher")
    assert (row.attempt, row.crashes, row.threads, row.key_id) == (0, 0, 2, "key_1")
    assert list(row.labels.items()) == [("b", "1"), ("a", "2")]
    assert TrainJob.model_validate_json((await harness.claim()).spec) == spec
    async with harness.database.read() as session:
        labels = (await session.scalars(select(JobLabelRow).where(JobLabelRow.job_id == made.id))).all()
    assert {(label.key, label.value) for label in labels} == {("a", "2"), ("b", "1")}


async def test_a_job_whose_transaction_is_rolled_back_was_never_there(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    spec = TrainJob(kind="train", dataset=dataset, model=ARCHITECTURE)
    with pytest.raises(RuntimeError, match="on purpose"):
        async with harness.database.write() as session:
            await harness.ledger.submit(session, NewJob(spec=spec))
            raise RuntimeError("on purpose")
    assert await harness.ledger.claim("owner-1", "train", "cpu") is None


async def test_events_tell_the_whole_story_in_order(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.running()
    first: list[Event] = [PhaseEvent(phase="training"), ProgressEvent(step=1, steps=9, percent=11.0)]
    second: list[Event] = [WarningEvent(code="slow", message="so slow"), checkpoint(5)]
    assert await harness.ledger.record(claim, first)
    assert await harness.ledger.record(claim, second)
    assert await harness.ledger.succeed(claim, await harness.publication())
    events = await harness.events(job)
    assert [event.seq for event in events] == list(range(1, 9))
    assert [event.data["state"] for event in events if event.type == "state"] == [
        "queued",
        "starting",
        "running",
        "succeeded",
    ]
    assert [event.type for event in events[3:7]] == ["phase", "progress", "warning", "checkpoint"]
    assert events[4].data["phase"] == "training"  # progress without a phase keeps the one before
    assert events[6].data == {"step": 5, "name": "step-00000005-a1", "sha256": f"{5:064x}"}


async def test_of_a_run_of_progress_only_the_newest_is_kept(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.running()
    batch = [ProgressEvent(step=step) for step in range(1, 50)]
    assert await harness.ledger.record(claim, [*batch, PhaseEvent(phase="evaluating"), ProgressEvent(step=50)])
    kept = [event for event in await harness.events(job) if event.type in ("progress", "phase")]
    assert [(event.type, event.data.get("step")) for event in kept] == [
        ("progress", 49),
        ("phase", None),
        ("progress", 50),
    ]
    assert (await harness.row(job)).progress["step"] == 50


async def test_a_step_trained_again_overwrites_its_point(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.running()
    assert await harness.ledger.record(claim, [points("train/loss", 0.9, 0.8, 0.7), points("lr", 0.1)])
    assert await harness.ledger.record(
        claim, [points("train/loss", 0.75, 0.6, 0.6, start=3), points("train/loss", 0.5, start=5)]
    )
    assert await series(harness, job, "train/loss") == [(1, 0.9), (2, 0.8), (3, 0.75), (4, 0.6), (5, 0.5)]
    assert await series(harness, job, "lr") == [(1, 0.1)]


async def test_a_point_without_a_value_stays_without_one(harness: LedgerHarness) -> None:
    job = await harness.job()
    assert await harness.ledger.record(await harness.running(), [points("train/loss", None, 1.0)])
    assert await series(harness, job, "train/loss") == [(1, None), (2, 1.0)]


async def test_many_points_come_in_one_batch(harness: LedgerHarness) -> None:
    job = await harness.job()
    values = [float(i) for i in range(2500)]
    assert await harness.ledger.record(await harness.running(), [points("train/loss", *values)])
    assert [value for _, value in await series(harness, job, "train/loss")] == values


async def test_an_empty_batch_only_says_whether_the_claim_holds(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.running()
    seq = (await harness.row(job)).last_seq
    assert await harness.ledger.record(claim, [])
    assert (await harness.row(job)).last_seq == seq


async def test_success_registers_the_student_with_its_files_and_report(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.running()
    assert await harness.ledger.succeed(claim, await harness.publication())
    row = await harness.row(job)
    assert row.student_id is not None
    assert row.outputs == [{"role": "student", "model": row.student_id}]
    assert row.progress["percent"] == 100.0
    async with harness.database.read() as session:
        student = await session.get_one(ModelRow, row.student_id)
        files = (await session.scalars(select(FileRow).where(FileRow.model_id == student.id))).all()
        artifacts = (await session.scalars(select(ArtifactRow.role).where(ArtifactRow.job_id == job))).all()
        report = await session.get_one(ReportRow, job)
    assert (student.state, student.source, student.source_job_id) == ("ready", "job", job)
    assert [(file.role, file.name) for file in files] == [("weights", "student.safetensors")]
    assert set(artifacts) == {"student", "report"}
    assert report.report == {"kind": "train"}


async def test_success_with_bytes_that_were_never_published_changes_nothing(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.running()
    absent = PublishedFile("student", "student.safetensors", 5, digest("never published"))
    with pytest.raises(UnknownBlob, match="publish it again"):
        await harness.ledger.succeed(claim, Publication((absent,), MODEL, FACTS, {}))
    assert await harness.state(job) is JobState.RUNNING
    async with harness.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(ModelRow)) == 0


async def test_equal_bytes_of_two_jobs_are_one_blob(harness: LedgerHarness) -> None:
    for _ in range(2):
        await harness.job()
        assert await harness.ledger.succeed(await harness.running(), await harness.publication("same"))
    async with harness.database.read() as session:
        query = select(func.count()).select_from(BlobRow).where(BlobRow.sha256 == digest("same/student"))
        assert await session.scalar(query) == 1
