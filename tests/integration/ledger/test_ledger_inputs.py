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
from app.queue.ledger import Ledger
from app.queue.needs import needed_by
from app.queue.records import NewJob, PublishedFile, UnusableInput
from tests.integration.ledger.world import ARCHITECTURE, FACTS, World, crash, digest, user_error

READY = InspectionOutcome(model=FACTS)
REJECTED = InspectionOutcome(rejection=Rejection(code="shape_mismatch", message="layers.0.weight is (3, 5)"))


async def nothing_to_claim(world: World) -> bool:
    return await world.ledger.claim("owner-1", "train", "cpu") is None


async def test_a_job_on_a_verifying_model_is_claimed_once_the_model_is_ready(world: World) -> None:
    model = await world.model("verifying")
    await world.inspection(model=model)
    job = await world.job(teachers=[model])
    assert await nothing_to_claim(world)
    assert await world.ledger.finish_inspection(await world.running("inspect"), READY)
    assert (await world.model_row(model)).state == "ready"
    assert (await world.claim()).job_id == job


async def test_a_waiting_job_does_not_hold_up_the_one_behind_it(world: World) -> None:
    await world.job(teachers=[await world.model("verifying")])
    behind = await world.job()
    assert (await world.claim()).job_id == behind


async def test_a_job_teacher_lends_its_student_once_it_succeeds(world: World) -> None:
    dataset = await world.dataset()
    teacher = await world.job(dataset)
    student = await world.job(dataset, teachers=[teacher])
    running = await world.running()
    assert running.job_id == teacher
    assert await nothing_to_claim(world)
    assert await world.ledger.succeed(running, await world.publication())
    claim = await world.claim()
    assert claim.job_id == student
    inputs = await world.ledger.inputs_of(claim)
    assert list(inputs.models) == [teacher]
    made = inputs.models[teacher]
    assert made.id == (await world.row(teacher)).student_id
    assert made.facts == FACTS
    assert [(file.name, file.role) for file in made.files] == [("student.safetensors", "weights")]
    assert list(inputs.datasets) == [dataset]


async def test_inputs_stand_under_the_ids_that_the_spec_says(world: World) -> None:
    first, second, dataset = await world.model(), await world.model(), await world.dataset()
    await world.job(dataset, teachers=[first, second, first])
    inputs = await world.ledger.inputs_of(await world.claim())
    assert set(inputs.models) == {first, second}
    assert [file.name for file in inputs.datasets[dataset].files] == ["d.npz"]
    assert inputs.datasets[dataset].manifest.inputs.keys() == {"x"}


async def test_an_inspection_reads_its_subject_while_it_is_verifying(world: World) -> None:
    model = await world.model("verifying")
    await world.inspection(model=model)
    inputs = await world.ledger.inputs_of(await world.claim("inspect"))
    assert inputs.models[model].facts is None
    assert inputs.models[model].manifest.architecture is not None


@pytest.mark.parametrize("end", ["failed", "cancelled", "crashed"])
async def test_the_end_of_a_teacher_job_fails_its_dependents_transitively(world: World, end: str) -> None:
    dataset = await world.dataset()
    root = await world.job(dataset)
    child = await world.job(dataset, teachers=[root])
    paused = await world.job(dataset, teachers=[child, root])
    await world.pause(paused)
    grandchild = await world.job(dataset, teachers=[paused])
    apart = await world.job(dataset)
    if end == "cancelled":
        await world.cancel(root)
    elif end == "failed":
        assert await world.ledger.fail(await world.running(), user_error())
    else:
        for _ in range(3):
            assert await world.ledger.lose(await world.running(), crash())
    for job in (child, paused, grandchild):
        row = await world.row(job)
        assert row.state is JobState.FAILED
        assert row.error is not None
        assert (row.error["code"], row.error["class"]) == ("dependency_failed", "user")
        assert root in row.error["message"]
        assert row.finished_at is not None
        assert [event.data["state"] for event in await world.events(job)][-1] == "failed"
    assert await world.state(apart) is JobState.QUEUED


async def test_a_rejected_model_fails_who_waits_for_it_and_who_waits_for_them(world: World) -> None:
    model = await world.model("verifying")
    inspection = await world.inspection(model=model)
    direct = await world.job(teachers=[model])
    indirect = await world.job(teachers=[direct])
    assert await world.ledger.finish_inspection(await world.running("inspect"), REJECTED)
    row = await world.model_row(model)
    assert (row.state, row.rejection) == (
        "rejected",
        {"code": "shape_mismatch", "message": "layers.0.weight is (3, 5)"},
    )
    assert await world.state(inspection) is JobState.SUCCEEDED  # the inspection itself did its work
    errors = [(await world.row(job)).error for job in (direct, indirect)]
    assert [error and error["code"] for error in errors] == ["invalid_input", "dependency_failed"]


async def test_an_inspection_that_crashes_for_good_rejects_its_subject(world: World) -> None:
    """A file that kills the parser three times must not stay `verifying` for ever."""
    dataset = await world.dataset("verifying")
    await world.inspection(dataset=dataset)
    waiting = await world.job(dataset)
    for _ in range(3):
        assert await world.ledger.lose(await world.running("inspect"), crash("killed by signal 9"))
    assert await world.state(waiting) is JobState.FAILED
    with pytest.raises(UnusableInput, match="rejected"):
        await world.job(dataset)
    async with world.database.write() as session:
        assert await needed_by(session, dataset) == []


async def test_a_converted_file_takes_the_place_of_the_upload(world: World) -> None:
    model = await world.model("verifying")
    await world.inspection(model=model)
    sha256 = digest("converted")
    await world.blob(sha256)
    converted = PublishedFile("converted", "m.safetensors", 5, sha256)
    named = OutputFile(role="converted", path="m.safetensors", bytes=5, sha256=sha256)
    outcome = InspectionOutcome(model=FACTS, files=(named,))
    assert await world.ledger.finish_inspection(await world.running("inspect"), outcome, [converted])
    async with world.database.read() as session:
        files = (await session.scalars(select(FileRow).where(FileRow.model_id == model))).all()
    assert [(file.role, file.sha256) for file in files] == [("weights", sha256)]


async def test_a_cancelled_inspection_rejects_its_subject(world: World) -> None:
    model = await world.model("verifying")
    inspection = await world.inspection(model=model)
    await world.cancel(inspection)
    row = await world.model_row(model)
    assert row.state == "rejected"
    assert row.rejection is not None
    assert row.rejection["code"] == "inspection_cancelled"


@pytest.mark.parametrize("what", ["missing", "rejected", "failed", "cancelled"])
async def test_a_job_on_an_input_that_can_never_come_is_refused(world: World, what: str) -> None:
    dataset = await world.dataset()
    if what == "missing":
        teacher = "mdl_0190f9a3-0000-7000-8000-000000000000"
    elif what == "rejected":
        teacher = await world.model("rejected")
    else:
        teacher = await world.job(dataset)
        if what == "cancelled":
            await world.cancel(teacher)
        else:
            await world.ledger.fail(await world.running(), user_error())
    with pytest.raises(UnusableInput, match=what) as caught:
        await world.job(dataset, teachers=[teacher])
    assert (caught.value.reference, caught.value.found) == (teacher, what)
    assert await nothing_to_claim(world)


async def test_another_project_s_inputs_are_not_there(world: World) -> None:
    dataset = await world.dataset()
    async with world.database.write() as session:
        session.add(ProjectRow(id="prj_other", name="other"))
    spec = TrainJob(kind="train", dataset=dataset, model=ARCHITECTURE)
    with pytest.raises(UnusableInput, match="missing"):
        async with world.database.write() as session:
            await world.ledger.submit(session, NewJob(spec=spec, project_id="prj_other"))


async def test_a_model_is_needed_until_the_last_job_that_reads_it_has_ended(world: World) -> None:
    model = await world.model()
    job = await world.job(teachers=[model])
    await world.job(teachers=[await world.model()])
    async with world.database.write() as session:
        assert await needed_by(session, model) == [job]
    await world.cancel(job)
    async with world.database.write() as session:
        assert await needed_by(session, model) == []


async def test_a_student_is_needed_by_the_jobs_that_name_its_job(world: World) -> None:
    teacher = await world.job()
    assert await world.ledger.succeed(await world.running(), await world.publication())
    student = (await world.row(teacher)).student_id
    assert student is not None
    follower = await world.job(teachers=[teacher])
    async with world.database.write() as session:
        assert await needed_by(session, student) == [follower]


async def test_the_job_of_a_deleted_student_teaches_nobody(world: World) -> None:
    teacher = await world.job()
    assert await world.ledger.succeed(await world.running(), await world.publication())
    student = (await world.row(teacher)).student_id
    async with world.database.write() as session:
        await session.execute(delete(ModelRow).where(ModelRow.id == student))
    assert (await world.row(teacher)).student_id is None
    with pytest.raises(UnusableInput, match="missing"):
        await world.job(teachers=[teacher])


async def test_no_job_is_left_waiting_for_one_that_fails_while_it_is_submitted(world: World, database_url: str) -> None:
    dataset = await world.dataset()
    for _ in range(5):
        root = await world.job(dataset)
        databases = [open_database(database_url) for _ in range(4)]
        others = [World(database, Ledger(database)) for database in databases]
        submissions = [other.job(dataset, teachers=[root]) for other in others]
        await asyncio.gather(world.cancel(root), *submissions, return_exceptions=True)
        for database in databases:
            await database.close()
        async with world.database.read() as session:
            dependents = select(JobRow.state).join(JobInputRow, JobInputRow.job_id == JobRow.id)
            states = (await session.scalars(dependents.where(JobInputRow.upstream_id == root))).all()
        assert set(states) <= {JobState.FAILED}


async def test_a_model_is_never_deleted_under_a_job_that_is_submitted(world: World, database_url: str) -> None:
    dataset = await world.dataset()
    for _ in range(5):
        model = await world.model()
        other = open_database(database_url)
        submission = World(other, Ledger(other)).job(dataset, teachers=[model])
        deleted, submitted = await asyncio.gather(_delete(world, model), submission, return_exceptions=True)
        await other.close()
        assert isinstance(submitted, UnusableInput) == deleted
        if not deleted:
            assert (await world.model_row(model)).state == "ready"


async def _delete(world: World, model: str) -> bool:
    async with world.database.write() as session:
        if await needed_by(session, model):
            return False
        await session.execute(delete(ModelRow).where(ModelRow.id == model))
        return True


async def test_dependents_of_different_roots_fail_without_a_deadlock(world: World, database_url: str) -> None:
    """Chains that cross: each end locks what the other's end locks."""
    dataset = await world.dataset()
    roots = [await world.job(dataset) for _ in range(4)]
    middle = [await world.job(dataset, teachers=pair) for pair in ([roots[0], roots[1]], [roots[2], roots[3]])]
    last = await world.job(dataset, teachers=[*middle, *roots])
    databases = [open_database(database_url) for _ in roots]
    worlds = [World(database, Ledger(database)) for database in databases]
    await asyncio.gather(*(world.cancel(root) for world, root in zip(worlds, roots, strict=True)))
    for database in databases:
        await database.close()
    for job in (*middle, last):
        row = await world.row(job)
        assert row.state in TERMINAL
        assert sum(event.data["state"] == "failed" for event in await world.events(job)) == 1
