"""A preflight in the ledger: it waits for what its job would wait for, and ends with a report and no model."""

from collections.abc import Sequence

import pytest
from sqlalchemy import func, select

from app.contracts.problems import Rejection
from app.contracts.specs.architectures import Mlp, StudentMlp
from app.contracts.specs.jobs import ANY_SPEC, DistillJob, MultitaskJob, PreflightJob, TaskSpec, TeacherRef, TrainJob
from app.contracts.states import JobState
from app.contracts.wire.orders import InspectionOutcome
from app.db.rows import ArtifactRow, JobInputRow, ModelRow, OutboxRow, ReportRow
from app.queue.inputs.needs import needed_by
from app.queue.records import NewJob, PublishedFile, UnusableInput
from tests.integration.ledger.harness import FACTS, LedgerHarness, crash, digest, user_error

REPORT = {"kind": "preflight", "would_fail": [{"code": "teacher_mismatch", "message": "at chance level"}]}
STUDENT = StudentMlp(family="mlp")


def distill(dataset: str, teachers: Sequence[str]) -> DistillJob:
    refs = tuple(TeacherRef(job=t) if t.startswith("job_") else TeacherRef(model=t) for t in teachers)
    return DistillJob(kind="distill", dataset=dataset, teachers=refs, student=STUDENT)


async def preflight(harness: LedgerHarness, dataset: str | None = None, teachers: Sequence[str] = ()) -> str:
    """A preflight of a train job, or with teachers (ids of models or jobs) of a distill job."""
    dataset = dataset or await harness.dataset()
    job: TrainJob | DistillJob = TrainJob(kind="train", dataset=dataset, model=Mlp(family="mlp"), labels={"of": "it"})
    if teachers:
        job = distill(dataset, teachers)
    spec = PreflightJob(kind="preflight", name="a look", job=job, labels={"team": "vision"})
    async with harness.database.write() as session:
        return (await harness.ledger.submit(session, NewJob(spec=spec, threads=1))).id


async def report(harness: LedgerHarness) -> list[PublishedFile]:
    """A report whose bytes are in the store."""
    file = PublishedFile("report", "report.json", 5, digest("preflight report"))
    await harness.blob(file.sha256)
    return [file]


async def test_a_preflight_is_queued_for_training_slots_under_its_own_name_and_labels(harness: LedgerHarness) -> None:
    job = await preflight(harness)
    row = await harness.row(job)
    assert (row.kind, row.lane, row.name, row.labels) == ("preflight", "train", "a look", {"team": "vision"})
    assert await harness.ledger.claim("owner-1", "inspect", "cpu") is None
    claim = await harness.claim("train")
    assert (claim.job_id, claim.kind) == (job, "preflight")
    assert isinstance(ANY_SPEC.validate_json(claim.spec), PreflightJob)


async def test_its_success_leaves_a_report_and_no_model(harness: LedgerHarness) -> None:
    job = await preflight(harness)
    claim = await harness.running()
    assert await harness.ledger.finish_report(claim, await report(harness), REPORT)
    row = await harness.row(job)
    assert (row.state, row.student_id, row.outputs) == (JobState.SUCCEEDED, None, [])
    assert row.progress["percent"] == 100.0
    async with harness.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(ModelRow)) == 0
        assert (await session.get_one(ReportRow, job)).report == REPORT
        artifacts = (await session.scalars(select(ArtifactRow).where(ArtifactRow.job_id == job))).all()
        topics = (await session.scalars(select(OutboxRow.topic).where(OutboxRow.subject == job))).all()
    assert [(file.role, file.name) for file in artifacts] == [("report", "report.json")]
    assert list(topics) == ["job.succeeded"]


async def test_an_answer_that_was_lost_is_given_again_and_a_zombie_is_refused(harness: LedgerHarness) -> None:
    await preflight(harness)
    zombie = await harness.running(owner="stopped")
    assert await harness.ledger.lose_owner("stopped") == 1
    claim = await harness.running(owner="successor")
    files = await report(harness)
    assert not await harness.ledger.finish_report(zombie, files, {"kind": "zombie"})
    assert await harness.ledger.finish_report(claim, files, REPORT)
    assert await harness.ledger.finish_report(claim, files, REPORT)
    assert not await harness.ledger.finish_report(zombie, files, {"kind": "zombie"})
    async with harness.database.read() as session:
        assert (await session.get_one(ReportRow, claim.job_id)).report == REPORT


async def test_once_cancelling_it_cannot_succeed(harness: LedgerHarness) -> None:
    job = await preflight(harness)
    claim = await harness.running()
    assert await harness.cancel(job) is JobState.CANCELLING
    assert not await harness.ledger.finish_report(claim, await report(harness), REPORT)
    assert await harness.state(job) is JobState.CANCELLED
    async with harness.database.read() as session:
        assert await session.get(ReportRow, job) is None


async def test_three_crashes_end_it(harness: LedgerHarness) -> None:
    job = await preflight(harness)
    for _ in range(3):
        assert await harness.ledger.lose(await harness.running(), crash())
    assert await harness.state(job) is JobState.FAILED


async def test_the_inputs_of_its_job_are_its_inputs(harness: LedgerHarness) -> None:
    dataset, model = await harness.dataset(), await harness.model()
    job = await preflight(harness, dataset, [model])
    async with harness.database.read() as session:
        rows = (await session.scalars(select(JobInputRow).where(JobInputRow.job_id == job))).all()
    assert {(row.role, row.dataset_id or row.model_id) for row in rows} == {("dataset", dataset), ("teacher", model)}
    inputs = await harness.ledger.inputs_of(await harness.claim())
    assert (list(inputs.datasets), list(inputs.models)) == ([dataset], [model])


async def test_teachers_inside_tasks_are_its_inputs_too(harness: LedgerHarness) -> None:
    dataset, model = await harness.dataset(), await harness.model()
    tasks = (TaskSpec(name="a"), TaskSpec(name="b", teachers=(TeacherRef(model=model),)))
    job = MultitaskJob(kind="multitask", dataset=dataset, tasks=tasks, student=STUDENT)
    async with harness.database.write() as session:
        made = await harness.ledger.submit(session, NewJob(spec=PreflightJob(kind="preflight", job=job)))
    async with harness.database.write() as session:
        assert await needed_by(session, model) == [made.id]


async def test_its_inputs_are_needed_until_it_has_ended(harness: LedgerHarness) -> None:
    dataset, model = await harness.dataset(), await harness.model()
    job = await preflight(harness, dataset, [model])
    async with harness.database.write() as session:
        assert [await needed_by(session, each) for each in (dataset, model)] == [[job], [job]]
    assert await harness.ledger.finish_report(await harness.running(), await report(harness), REPORT)
    async with harness.database.write() as session:
        assert [await needed_by(session, each) for each in (dataset, model)] == [[], []]


async def test_it_waits_for_a_verifying_model_and_fails_with_a_rejected_one(harness: LedgerHarness) -> None:
    first, second = await harness.model("verifying"), await harness.model("verifying")
    for model in (first, second):
        await harness.inspection(model=model)
    waits, fails = await preflight(harness, teachers=[first]), await preflight(harness, teachers=[second])
    assert await harness.ledger.claim("owner-1", "train", "cpu") is None
    ready, rejected = await harness.running("inspect"), await harness.running("inspect")
    assert await harness.ledger.finish_inspection(ready, InspectionOutcome(model=FACTS))
    assert (await harness.claim()).job_id == waits
    refusal = InspectionOutcome(rejection=Rejection(code="shape_mismatch", message="no"))
    assert await harness.ledger.finish_inspection(rejected, refusal)
    error = (await harness.row(fails)).error
    assert error is not None
    assert error["code"] == "invalid_input"


async def test_it_waits_for_a_job_that_teaches_and_reads_its_student(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    teacher = await harness.job(dataset)
    job = await preflight(harness, dataset, [teacher])
    running = await harness.running()
    assert running.job_id == teacher
    assert await harness.ledger.claim("owner-1", "train", "cpu") is None
    assert await harness.ledger.succeed(running, await harness.publication())
    claim = await harness.claim()
    assert claim.job_id == job
    assert list((await harness.ledger.inputs_of(claim)).models) == [teacher]


async def test_it_fails_with_the_job_that_should_have_taught(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    teacher = await harness.job(dataset)
    job = await preflight(harness, dataset, [teacher])
    assert await harness.ledger.fail(await harness.running(), user_error())
    error = (await harness.row(job)).error
    assert error is not None
    assert error["code"] == "dependency_failed"


@pytest.mark.parametrize("ended", [False, True])
async def test_a_preflight_cannot_be_a_teacher(harness: LedgerHarness, ended: bool) -> None:
    dataset = await harness.dataset()
    look = await preflight(harness, dataset)
    if ended:
        assert await harness.ledger.finish_report(await harness.running(), await report(harness), REPORT)
    with pytest.raises(UnusableInput) as caught:
        async with harness.database.write() as session:
            await harness.ledger.submit(session, NewJob(spec=distill(dataset, [look])))
    assert (caught.value.reference, caught.value.found) == (look, "no_student")
