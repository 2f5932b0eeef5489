"""An export in the ledger: it runs where inspections do, and its file becomes a file of its model."""

from sqlalchemy import delete, select

from app.contracts.specs.jobs import ANY_SPEC, ExportJob
from app.contracts.states import JobState
from app.db.rows import FileRow, JobInputRow
from app.queue.inputs.needs import needed_by
from app.queue.records import NewJob, PublishedFile
from tests.integration.ledger.harness import LedgerHarness, digest, user_error


async def export(harness: LedgerHarness, model: str) -> str:
    async with harness.database.write() as session:
        return (await harness.ledger.submit(session, NewJob(spec=ExportJob(model=model, format="onnx")))).id


async def export_with_rows(harness: LedgerHarness, model: str, dataset: str) -> str:
    """An export measured on a dataset, whose row is before that of the model."""
    async with harness.database.write() as session:
        spec = ExportJob(model=model, format="int8", dataset=dataset)
        job = (await harness.ledger.submit(session, NewJob(spec=spec))).id
        inputs = select(JobInputRow).where(JobInputRow.job_id == job, JobInputRow.model_id == model)
        row = (await session.scalars(inputs)).one()
        role = row.role
        await session.execute(delete(JobInputRow).where(JobInputRow.id == row.id))
        session.add(JobInputRow(job_id=job, role=role, model_id=model))
    return job


async def graph(harness: LedgerHarness, content: str = "graph") -> PublishedFile:
    await harness.blob(digest(content))
    return PublishedFile("onnx", "model.onnx", 5, digest(content))


async def roles(harness: LedgerHarness, model: str) -> list[str]:
    async with harness.database.read() as session:
        query = select(FileRow.role).where(FileRow.model_id == model).order_by(FileRow.position)
        return list(await session.scalars(query))


async def test_an_export_waits_in_the_lane_of_inspections_and_adds_its_file_once(harness: LedgerHarness) -> None:
    model = await harness.model("ready")
    before = await roles(harness, model)
    jobs = [await export(harness, model), await export(harness, model)]
    for job, content in zip(jobs, ("one", "two"), strict=True):
        claim = await harness.running("inspect")
        assert claim.job_id == job
        assert isinstance(ANY_SPEC.validate_json(claim.spec), ExportJob)
        assert await harness.ledger.finish_export(claim, [await graph(harness, content)])
        assert (await harness.row(job)).state is JobState.SUCCEEDED
    assert await roles(harness, model) == [*before, "onnx"]


async def test_the_file_of_an_export_with_a_dataset_is_its_models_whatever_the_order_of_its_inputs(
    harness: LedgerHarness,
) -> None:
    model, dataset = await harness.model("ready"), await harness.dataset("ready")
    job = await export_with_rows(harness, model, dataset)
    claim = await harness.running("inspect")
    assert claim.job_id == job
    await harness.blob(digest("int8"))
    assert await harness.ledger.finish_export(claim, [PublishedFile("int8", "model.int8.onnx", 5, digest("int8"))])
    assert "int8" in await roles(harness, model)


async def test_its_model_is_kept_until_it_ends_and_stays_ready_where_it_fails(harness: LedgerHarness) -> None:
    model = await harness.model("ready")
    job = await export(harness, model)
    async with harness.database.write() as session:
        assert await needed_by(session, model) == [job]
    assert await harness.ledger.fail(await harness.running("inspect"), user_error())
    row = await harness.model_row(model)
    assert row.state == "ready"
    async with harness.database.write() as session:
        assert await needed_by(session, model) == []
