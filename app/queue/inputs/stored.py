"""The models and datasets that a claimed job reads."""

from collections.abc import Iterable

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app.contracts.resources.facts import DATASET_FACTS, MODEL_FACTS, DatasetFacts, FileRef
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.resources.predictions import PREDICTIONS, PredictionsManifest
from app.db.base import json_text
from app.db.engine import Database
from app.db.rows import DatasetRow, FileRow, JobInputRow, JobRow, ModelRow
from app.queue.records import Claim, JobInputs, StoredDataset, StoredModel, StoredPredictions


async def inputs_of(database: Database, claim: Claim) -> JobInputs:
    """The inputs of a claimed job, with manifests, facts and files."""
    async with database.read() as session:
        rows = (await session.scalars(select(JobInputRow).where(JobInputRow.job_id == claim.job_id))).all()
        references = {row.model_id: row.model_id for row in rows if row.model_id is not None}
        upstream = [row.upstream_id for row in rows if row.upstream_id is not None]
        students = await _students(session, upstream)
        models = await stored_models(session, [*references, *students])
        named = [row.dataset_id for row in rows if row.dataset_id is not None]
        datasets, predictions = await stored_datasets(session, named), await _stored_predictions(session, named)
    known = {reference: models[reference] for reference in references if reference in models}
    from_jobs = {job_id: models[model_id] for model_id, job_id in students.items() if model_id in models}
    return JobInputs(models=known | from_jobs, datasets=datasets, predictions=predictions)


async def _students(session: AsyncSession, jobs: list[str]) -> dict[str, str]:
    """Model id -> id of the job that made it."""
    if not jobs:
        return {}
    query = select(JobRow.student_id, JobRow.id).where(JobRow.id.in_(jobs), JobRow.student_id.is_not(None))
    return {student: job for student, job in await session.execute(query) if student is not None}


async def stored_models(session: AsyncSession, ids: list[str]) -> dict[str, StoredModel]:
    """Models by id, with manifests, facts and files; without those that do not exist."""
    query = select(ModelRow).where(ModelRow.id.in_(ids)).options(selectinload(ModelRow.files))
    return {row.id: _model(row) for row in await session.scalars(query)}


async def stored_datasets(session: AsyncSession, ids: list[str]) -> dict[str, StoredDataset]:
    """Datasets by id, likewise; those of rows, without predictions."""
    query = _datasets(ids).where(DatasetRow.format != PREDICTIONS)
    return {row.id: _dataset(row) for row in await session.scalars(query)}


async def _stored_predictions(session: AsyncSession, ids: list[str]) -> dict[str, StoredPredictions]:
    query = _datasets(ids).where(DatasetRow.format == PREDICTIONS)
    return {row.id: _predictions(row) for row in await session.scalars(query)}


def _datasets(ids: list[str]) -> Select[DatasetRow]:
    return select(DatasetRow).where(DatasetRow.id.in_(ids)).options(selectinload(DatasetRow.files))


def _model(row: ModelRow) -> StoredModel:
    manifest = ModelManifest.model_validate_json(json_text(row.manifest), extra="ignore")
    facts = None if row.facts is None else MODEL_FACTS.validate_json(json_text(row.facts), extra="ignore")
    return StoredModel(row.id, manifest, facts, _files(row.files))


def _dataset(row: DatasetRow) -> StoredDataset:
    manifest = DatasetManifest.model_validate_json(json_text(row.manifest), extra="ignore")
    return StoredDataset(row.id, manifest, _facts(row), _files(row.files))


def _predictions(row: DatasetRow) -> StoredPredictions:
    manifest = PredictionsManifest.model_validate_json(json_text(row.manifest), extra="ignore")
    return StoredPredictions(row.id, manifest, _facts(row), _files(row.files))


def _facts(row: DatasetRow) -> DatasetFacts | None:
    return None if row.facts is None else DATASET_FACTS.validate_json(json_text(row.facts), extra="ignore")


def _files(rows: Iterable[FileRow]) -> tuple[FileRef, ...]:
    return tuple(
        FileRef.model_validate({"name": row.name, "role": row.role, "bytes": row.bytes, "sha256": row.sha256})
        for row in rows
    )
