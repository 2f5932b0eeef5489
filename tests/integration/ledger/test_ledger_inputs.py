"""What a job waits for: models, datasets and other jobs; and what happens when one of them never comes."""

import asyncio

import pytest
from sqlalchemy import delete, select

from app.contracts.problems import Rejection
from app.contracts.specs.jobs import TrainJob
from app.contracts.states import TERMINAL, JobState
from app.contracts.wire.orders import InspectionOutcome, OutputFile
from app.db.engine import open_database
from app.db.rows import FileRow, JobInputRow, JobRow, ModelRow, ProjectRow
from app.queue.inputs.needs import needed_by
from app.queue.ledger import Ledger
from app.queue.records import NewJob, PublishedFile, UnusableInput
from tests.integration.ledger.harness import ARCHITECTURE, FACTS, LedgerHarness, crash, digest, user_error

READY = InspectionOutcome(model=FACTS)
REJECTED = InspectionOutcome(rejection=Rejection(code="shape_mismatch", message="layers.0.weight is (3, 5)"))


async def nothing_to_claim(harness: LedgerHarness) -> bool:
    return await harness.ledger.claim("owner-1", "train", "cpu") is None


async def test_a_job_on_a_verifying_model_is_claimed_once_the_model_is_ready(harness: LedgerHarness) -> None:
    model = await harness.model("verifying")
    await harness.inspection(model=model)
    job = await harness.job(teachers=[model])
    assert await nothing_to_claim(harness)
    assert await harness.ledger.finish_inspection(await harness.running("inspect"), READY)
    assert (await harness.model_row(model)).state == "ready"
    assert (await harness.claim()).job_id == job


async def test_a_waiting_job_does_not_hold_up_the_one_behind_it(harness: LedgerHarness) -> None:
    await harness.job(teachers=[await harness.model("verifying")])
    behind = await harness.job()
    assert (await harness.claim()).job_id == behind


async def test_a_job_teacher_lends_its_student_once_it_succeeds(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    teacher = await harness.job(dataset)
    student = await harness.job(dataset, teachers=[teacher])
    running = await harness.running()
    assert running.job_id == teacher
    assert await nothing_to_claim(harness)
    assert await harness.ledger.succeed(running, await harness.publication())
    claim = await harness.claim()
    assert claim.job_id == student
    inputs = await harness.ledger.inputs_of(claim)
    assert list(inputs.models) == [teacher]
    made = inputs.models[teacher]
    assert made.id == (await harness.row(teacher)).student_id
    assert made.facts == FACTS
    assert [(file.name, file.role) for file in made.files] == [("student.safetensors", "weights")]
    assert list(inputs.datasets) == [dataset]


async def test_inputs_stand_under_the_ids_that_the_spec_says(harness: LedgerHarness) -> None:
    first, second, dataset = await harness.model(), await harness.model(), await harness.dataset()
    await harness.job(dataset, teachers=[first, second, first])
    inputs = await harness.ledger.inputs_of(await harness.claim())
    assert set(inputs.models) == {first, second}
    assert [file.name for file in inputs.datasets[dataset].files] == ["d.npz"]
    assert inputs.datasets[dataset].manifest.inputs.keys() == {"x"}


async def test_an_inspection_reads_its_subject_while_it_is_verifying(harness: LedgerHarness) -> None:
    model = await harness.model("verifying")
    await harness.inspection(model=model)
    inputs = await harness.ledger.inputs_of(await harness.claim("inspect"))
    assert inputs.models[model].facts is None
    assert inputs.models[model].manifest.architecture is not None


@pytest.mark.parametrize("end", ["failed", "cancelled", "crashed"])
async def test_the_end_of_a_teacher_job_fails_its_dependents_transitively(harness: LedgerHarness, end: str) -> None:
    dataset = await harness.dataset()
    root = await harness.job(dataset)
    child = await harness.job(dataset, teachers=[root])
    paused = await harness.job(dataset, teachers=[child, root])
    await harness.pause(paused)
    grandchild = await harness.job(dataset, teachers=[paused])
    apart = await harness.job(dataset)
    if end == "cancelled":
        await harness.cancel(root)
    elif end == "failed":
        assert await harness.ledger.fail(await harness.running(), user_error())
    else:
        for _ in range(3):
            assert await harness.ledger.lose(await harness.running(), crash())
    for job in (child, paused, grandchild):
        row = await harness.row(job)
        assert row.state is JobState.FAILED
        assert row.error is not None
        assert (row.error["code"], row.error["class"]) == ("dependency_failed", "user")
        assert root in row.error["message"]
        assert row.finished_at is not None
        assert [event.data["state"] for event in await harness.events(job)][-1] == "failed"
    assert await harness.state(apart) is JobState.QUEUED


async def test_a_rejected_model_fails_who_waits_for_it_and_who_waits_for_them(harness: LedgerHarness) -> None:
    model = await harness.model("verifying")
    inspection = await harness.inspection(model=model)
    direct = await harness.job(teachers=[model])
    indirect = await harness.job(teachers=[direct])
    assert await harness.ledger.finish_inspection(await harness.running("inspect"), REJECTED)
    row = await harness.model_row(model)
    assert (row.state, row.rejection) == (
        "rejected",
        {"code": "shape_mismatch", "message": "layers.0.weight is (3, 5)"},
    )
    assert await harness.state(inspection) is JobState.SUCCEEDED  # the inspection itself did its work
    errors = [(await harness.row(job)).error for job in (direct, indirect)]
    assert [error and error["code"] for error in errors] == ["invalid_input", "dependency_failed"]


async def test_an_inspection_that_crashes_for_good_rejects_its_subject(harness: LedgerHarness) -> None:
    """A file that kills the parser three times must not stay `verifying` for ever."""
    dataset = await harness.dataset("verifying")
    await harness.inspection(dataset=dataset)
    waiting = await harness.job(dataset)
    for _ in range(3):
        assert await harness.ledger.lose(await harness.running("inspect"), crash("killed by signal 9"))
    assert await harness.state(waiting) is JobState.FAILED
    with pytest.raises(UnusableInput, match="rejected"):
        await harness.job(dataset)
    async with harness.database.write() as session:
        assert await needed_by(session, dataset) == []


async def test_a_converted_file_takes_the_place_of_the_upload(harness: LedgerHarness) -> None:
    model = await harness.model("verifying")
    await harness.inspection(model=model)
    sha256 = digest("converted")
    await harness.blob(sha256)
    converted = PublishedFile("converted", "m.safetensors", 5, sha256)
    named = OutputFile(role="converted", path="m.safetensors", bytes=5, sha256=sha256)
    outcome = InspectionOutcome(model=FACTS, files=(named,))
    assert await harness.ledger.finish_inspection(await harness.running("inspect"), outcome, [converted])
    async with harness.database.read() as session:
        files = (await session.scalars(select(FileRow).where(FileRow.model_id == model))).all()
    assert [(file.role, file.sha256) for file in files] == [("weights", sha256)]


async def test_a_cancelled_inspection_rejects_its_subject(harness: LedgerHarness) -> None:
    model = await harness.model("verifying")
    inspection = await harness.inspection(model=model)
    await harness.cancel(inspection)
    row = await harness.model_row(model)
    assert row.state == "rejected"
    assert row.rejection is not None
    assert row.rejection["code"] == "inspection_cancelled"


@pytest.mark.parametrize("what", ["missing", "rejected", "failed", "cancelled"])
async def test_a_job_on_an_input_that_can_never_come_is_refused(harness: LedgerHarness, what: str) -> None:
    dataset = await harness.dataset()
    if what == "missing":
        teacher = "mdl_0190f9a3-0000-7000-8000-000000000000"
    elif what == "rejected":
        teacher = await harness.model("rejected")
    else:
        teacher = await harness.job(dataset)
        if what == "cancelled":
            await harness.cancel(teacher)
        else:
            await harness.ledger.fail(await harness.running(), user_error())
    with pytest.raises(UnusableInput, match=what) as caught:
        await harness.job(dataset, teachers=[teacher])
    assert (caught.value.reference, caught.value.found) == (teacher, what)
    assert await nothing_to_claim(harness)


async def test_another_project_s_inputs_are_not_there(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    async with harness.database.write() as session:
        session.add(ProjectRow(id="prj_other", name="other"))
    spec = TrainJob(kind="train", dataset=dataset, model=ARCHITECTURE)
    with pytest.raises(UnusableInput, match="missing"):
        async with harness.database.write() as session:
            await harness.ledger.submit(session, NewJob(spec=spec, project_id="prj_other"))


async def test_a_model_is_needed_until_the_last_job_that_reads_it_has_ended(harness: LedgerHarness) -> None:
    model = await harness.model()
    job = await harness.job(teachers=[model])
    await harness.job(teachers=[await harness.model()])
    async with harness.database.write() as session:
        assert await needed_by(session, model) == [job]
    await harness.cancel(job)
    async with harness.database.write() as session:
        assert await needed_by(session, model) == []


async def test_a_student_is_needed_by_the_jobs_that_name_its_job(harness: LedgerHarness) -> None:
    teacher = await harness.job()
    assert await harness.ledger.succeed(await harness.running(), await harness.publication())
    student = (await harness.row(teacher)).student_id
    assert student is not None
    follower = await harness.job(teachers=[teacher])
    async with harness.database.write() as session:
        assert await needed_by(session, student) == [follower]


async def test_the_job_of_a_deleted_student_cannot_be_a_teacher(harness: LedgerHarness) -> None:
    teacher = await harness.job()
    assert await harness.ledger.succeed(await harness.running(), await harness.publication())
    student = (await harness.row(teacher)).student_id
    async with harness.database.write() as session:
        await session.execute(delete(ModelRow).where(ModelRow.id == student))
    assert (await harness.row(teacher)).student_id is None
    with pytest.raises(UnusableInput, match="student_deleted"):
        await harness.job(teachers=[teacher])


async def test_no_job_is_left_waiting_for_one_that_fails_while_it_is_submitted(
    harness: LedgerHarness, database_url: str
) -> None:
    dataset = await harness.dataset()
    for _ in range(5):
        root = await harness.job(dataset)
        databases = [open_database(database_url) for _ in range(4)]
        others = [LedgerHarness(database, Ledger(database)) for database in databases]
        submissions = [other.job(dataset, teachers=[root]) for other in others]
        await asyncio.gather(harness.cancel(root), *submissions, return_exceptions=True)
        for database in databases:
            await database.close()
        async with harness.database.read() as session:
            dependents = select(JobRow.state).join(JobInputRow, JobInputRow.job_id == JobRow.id)
            states = (await session.scalars(dependents.where(JobInputRow.upstream_id == root))).all()
        assert set(states) <= {JobState.FAILED}


async def test_a_model_is_never_deleted_under_a_job_that_is_submitted(
    harness: LedgerHarness, database_url: str
) -> None:
    dataset = await harness.dataset()
    for _ in range(5):
        model = await harness.model()
        other = open_database(database_url)
        submission = LedgerHarness(other, Ledger(other)).job(dataset, teachers=[model])
        deleted, submitted = await asyncio.gather(_delete(harness, model), submission, return_exceptions=True)
        await other.close()
        assert isinstance(submitted, UnusableInput) == deleted
        if not deleted:
            assert (await harness.model_row(model)).state == "ready"


async def _delete(harness: LedgerHarness, model: str) -> bool:
    async with harness.database.write() as session:
        if await needed_by(session, model):
            return False
        await session.execute(delete(ModelRow).where(ModelRow.id == model))
        return True


async def test_dependents_of_different_roots_fail_without_a_deadlock(harness: LedgerHarness, database_url: str) -> None:
    """Chains that cross: each end locks what the other's end locks."""
    dataset = await harness.dataset()
    roots = [await harness.job(dataset) for _ in range(4)]
    middle = [await harness.job(dataset, teachers=pair) for pair in ([roots[0], roots[1]], [roots[2], roots[3]])]
    last = await harness.job(dataset, teachers=[*middle, *roots])
    databases = [open_database(database_url) for _ in roots]
    worlds = [LedgerHarness(database, Ledger(database)) for database in databases]
    await asyncio.gather(*(harness.cancel(root) for harness, root in zip(worlds, roots, strict=True)))
    for database in databases:
        await database.close()
    for job in (*middle, last):
        row = await harness.row(job)
        assert row.state in TERMINAL
        assert sum(event.data["state"] == "failed" for event in await harness.events(job)) == 1
