"""The end of a job, written by the worker that holds it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.problems import JobError, Rejection
from app.contracts.resources.facts import FileRole, ModelFacts
from app.contracts.resources.manifests import ModelManifest
from app.contracts.states import LEASED, JobState, Trigger
from app.contracts.wire.orders import DatasetFileRole, InspectionOutcome
from app.db.engine import Database
from app.db.ids import new_id
from app.db.rows import DEFAULT_PROJECT, ArtifactRow, FileRow, JobInputRow, JobRow, ModelRow, ReportRow
from app.db.signals import announce
from app.db.writes import insert_all
from app.queue.blobs import mark_stored, release_blobs
from app.queue.ends import Resource, change, end_verification, subject_of, write_outbox
from app.queue.inputs import networks
from app.queue.records import Claim, Publication, PublishedFile
from app.queue.transitions import lock

_MODEL_FILES: dict[str, FileRole] = {
    "student": "weights",
    "onnx": "onnx",
    "int8": "int8",
    "fp16": "fp16",
    "reference_rows": "reference_rows",
    "invented_rows": "invented_rows",
    "tokenizer": "tokenizer",
}


async def succeed(database: Database, claim: Claim, publication: Publication) -> bool:
    """End a training job as succeeded, with its students as ready models."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if not await _may_succeed(session, job):
            return job is not None and job.state is JobState.SUCCEEDED
        assert job is not None
        output_bytes = await _insert_outputs(session, job, publication.files, publication.report)
        student_id = await _register(session, job, publication.student_manifest, publication.student, publication.files)
        outputs = [{"role": "student", "model": student_id}]
        for peer in publication.peers:
            files = [replace(file, role="student") for file in publication.files if file.role == peer.role]
            files += [file for file in publication.files if file.role == "tokenizer"]
            model_id = await _register(session, job, peer.manifest, peer.facts, files)
            outputs.append({"role": peer.role, "model": model_id})
        progress = {**job.progress, "percent": 100.0, "eta_seconds": 0.0}
        await change(
            session,
            job,
            Trigger.SUCCEED,
            note={"student": student_id},
            student_id=student_id,
            outputs=outputs,
            progress=progress,
            output_bytes=output_bytes,
            verdict=_words(publication.report),
        )
        return True


def _words(report: Mapping[str, Any]) -> dict[str, str] | None:
    """The verdict of a report as a word for each task; None where it has none."""
    return {task: each["verdict"] for task, each in report.get("verdict", {}).items()} or None


async def _insert_outputs(
    session: AsyncSession, job: JobRow, files: Sequence[PublishedFile], report: Mapping[str, Any]
) -> int:
    """Insert the rows of the job's files and report; the bytes of the files."""
    await mark_stored(session, [file.sha256 for file in files])
    artifacts = [
        {"job_id": job.id, "role": file.role, "name": file.name, "bytes": file.bytes, "sha256": file.sha256}
        for file in files
    ]
    await insert_all(session, ArtifactRow, artifacts)
    await session.execute(insert(ReportRow).values(job_id=job.id, report=dict(report)))
    return sum(file.bytes for file in files)


async def finish_report(
    database: Database, claim: Claim, files: Sequence[PublishedFile], report: Mapping[str, Any]
) -> bool:
    """End a job that makes no model as succeeded, with its report."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if not await _may_succeed(session, job):
            return job is not None and job.state is JobState.SUCCEEDED
        assert job is not None
        output_bytes = await _insert_outputs(session, job, files, report)
        progress = {**job.progress, "percent": 100.0, "eta_seconds": 0.0}
        await change(session, job, Trigger.SUCCEED, progress=progress, output_bytes=output_bytes)
        return True


async def _may_succeed(session: AsyncSession, job: JobRow | None) -> bool:
    """Whether this worker still holds the job and it is not being cancelled. If it is, it ends here as cancelled."""
    if job is None or job.state not in LEASED:
        return False
    if job.state is JobState.CANCELLING:
        await change(session, job, Trigger.YIELD)
        return False
    return True


async def _register(
    session: AsyncSession, job: JobRow, manifest: ModelManifest, facts: ModelFacts, published: Iterable[PublishedFile]
) -> str:
    """Insert a trained network as a ready model; its id."""
    model_id = new_id("mdl")
    row = ModelRow(
        id=model_id,
        project_id=job.project_id,
        name=manifest.name,
        state="ready",
        format=manifest.format,
        manifest=manifest.model_dump(mode="json"),
        facts=facts.model_dump(mode="json"),
        source="job",
        source_job_id=job.id,
    )
    session.add(row)
    await session.flush()
    files = [
        _file(file, _MODEL_FILES[file.role], model_id=model_id, project_id=job.project_id)
        for file in published
        if file.role in _MODEL_FILES
    ]
    await _add_files(session, files)
    await write_outbox(session, job.project_id, "model.ready", model_id, {"source": job.id})
    announce(session, model_id)
    return model_id


async def _add_files(session: AsyncSession, files: Iterable[dict[str, Any]]) -> None:
    await insert_all(session, FileRow, [{**file, "position": position} for position, file in enumerate(files)])


def _file(file: PublishedFile, role: FileRole, **owner: str | None) -> dict[str, Any]:
    return {"name": file.name, "role": role, "bytes": file.bytes, "sha256": file.sha256, **owner}


async def finish_inspection(
    database: Database, claim: Claim, outcome: InspectionOutcome, files: Sequence[PublishedFile]
) -> bool:
    """End an inspection as succeeded, whatever its result, and its resource as ready or rejected."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if not await _may_succeed(session, job):
            return job is not None and job.state is JobState.SUCCEEDED
        assert job is not None
        subject = await subject_of(session, job)
        if subject is not None:
            await _end_verification(session, *subject, outcome, files)
        await networks.store(session, job, outcome.network, outcome.rejection)
        await change(session, job, Trigger.SUCCEED, progress={**job.progress, "percent": 100.0})
        return True


async def _end_verification(
    session: AsyncSession,
    resource: Resource,
    resource_id: str,
    outcome: InspectionOutcome,
    files: Sequence[PublishedFile],
) -> None:
    facts = outcome.model if resource is ModelRow else outcome.dataset
    if outcome.rejection is not None or facts is None:
        rejection = outcome.rejection or Rejection(
            code="inspection_failed", message="the inspection found no facts: upload it again"
        )
        document = rejection.model_dump(mode="json")
        await end_verification(session, resource, resource_id, state="rejected", rejection=document)
        return
    await end_verification(
        session, resource, resource_id, state="ready", facts=facts.model_dump(mode="json"), rejection=None
    )
    if files and resource is ModelRow:
        await _replace_files(session, resource_id, files)
    elif files:
        await _add_files_of_dataset(session, resource_id, files)


async def finish_export(
    database: Database, claim: Claim, files: Sequence[PublishedFile], report: Mapping[str, Any] | None
) -> bool:
    """End an export as succeeded, with its files as files of the model, unless it has them already, and its report."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if not await _may_succeed(session, job):
            return job is not None and job.state is JobState.SUCCEEDED
        assert job is not None
        of_model = (JobInputRow.job_id == job.id, JobInputRow.model_id.is_not(None))  # its dataset has a row as well
        model_id = await session.scalar(select(JobInputRow.model_id).where(*of_model))
        if model_id is not None:
            await _add_exports(session, job, model_id, files)
        if report is not None:
            await session.execute(insert(ReportRow).values(job_id=job.id, report=dict(report)))
        await change(session, job, Trigger.SUCCEED, progress={**job.progress, "percent": 100.0})
        return True


async def _add_exports(session: AsyncSession, job: JobRow, model_id: str, files: Sequence[PublishedFile]) -> None:
    await session.execute(select(ModelRow.id).where(ModelRow.id == model_id).with_for_update())
    have = set(await session.scalars(select(FileRow.role).where(FileRow.model_id == model_id)))
    known = have | ({"invented_rows"} if "reference_rows" in have else set())  # rows of the dataset say more
    new = [file for file in files if _MODEL_FILES[file.role] not in known]
    await mark_stored(session, [file.sha256 for file in new])
    rows = [
        {
            **_file(file, _MODEL_FILES[file.role], model_id=model_id, project_id=job.project_id, key_id=job.key_id),
            "position": len(have) + i,
        }
        for i, file in enumerate(new)
    ]
    await insert_all(session, FileRow, rows)
    announce(session, model_id)


async def _replace_files(session: AsyncSession, model_id: str, files: Sequence[PublishedFile]) -> None:
    """Replace the uploaded file of a model by those made of it; the upload's blob is released."""
    await mark_stored(session, [file.sha256 for file in files])
    fields = (FileRow.sha256, FileRow.project_id, FileRow.key_id)
    deleted = (await session.execute(delete(FileRow).where(FileRow.model_id == model_id).returning(*fields))).all()
    _, project_id, key_id = deleted[0] if deleted else ("", DEFAULT_PROJECT, None)
    owner = {"model_id": model_id, "project_id": project_id, "key_id": key_id}
    await _add_files(session, [_file(file, _role_of_model(file), **owner) for file in files])
    await release_blobs(session, [row.sha256 for row in deleted], key_id)


def _role_of_model(file: PublishedFile) -> FileRole:
    """A state_dict becomes safetensors; a graph stays one."""
    if file.role == "tokenizer":
        return "tokenizer"
    return "onnx" if file.name.endswith(".onnx") else "weights"


async def _add_files_of_dataset(session: AsyncSession, dataset_id: str, files: Sequence[PublishedFile]) -> None:
    """Add what the inspection made of a dataset, tokenizers and a preview, behind its file."""
    await mark_stored(session, [file.sha256 for file in files])
    owner = (FileRow.project_id, FileRow.key_id)
    query = select(*owner, func.count()).where(FileRow.dataset_id == dataset_id).group_by(*owner)
    project_id, key_id, count = (await session.execute(query)).one()
    roles: dict[str, FileRole] = {role: role for role in get_args(DatasetFileRole)}
    rows = [
        _file(file, roles[file.role], dataset_id=dataset_id, project_id=project_id, key_id=key_id) for file in files
    ]
    await insert_all(session, FileRow, [{**row, "position": count + i} for i, row in enumerate(rows)])


async def fail(database: Database, claim: Claim, error: JobError) -> bool:
    """End a job as failed."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if job is None or job.state not in LEASED:
            return job is not None and job.state is JobState.FAILED
        await change(session, job, Trigger.FAIL, error=error)
        return True


async def release(database: Database, claim: Claim, trigger: Trigger) -> bool:
    """End a claim without an end of the job: YIELD after a pause or cancel, DRAIN at a worker's shutdown."""
    async with database.write() as session:
        job = await lock(session, claim.job_id, claim.token)
        if job is None or job.state not in LEASED:
            return job is not None and job.state is JobState.CANCELLED
        await change(session, job, trigger)
        return True
