"""What a worker needs to open a model for predictions."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.resources.facts import FileRef
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.predictions import PREDICTIONS
from app.contracts.wire.predictions import Question
from app.db.engine import Database
from app.db.rows import DatasetRow, JobInputRow, ModelRow
from app.queue.inputs.stored import stored_datasets, stored_models
from app.queue.records import StoredModel


@dataclass(frozen=True)
class Source:
    """A model, the one whose rows it answers (itself, unless a question says otherwise), and the manifest of the
    dataset on which that one was trained, where it is still there.
    """

    model: StoredModel
    rows_of: StoredModel
    dataset: DatasetManifest | None

    def files(self) -> tuple[FileRef, ...]:
        """The files of both models."""
        return (*self.model.files, *self.rows_of.files)


async def source_of(database: Database, question: Question) -> Source | None:
    """None where a model has been deleted meanwhile."""
    rows_of = question.rows_of or question.model
    async with database.read() as session:
        models = await stored_models(session, [question.model, rows_of])
        if {question.model, rows_of} != set(models):
            return None
        return Source(models[question.model], models[rows_of], await _dataset_of(session, rows_of))


async def _dataset_of(session: AsyncSession, model: str) -> DatasetManifest | None:
    """The first dataset of rows of the job that trained a model."""
    query = (
        select(DatasetRow.id)
        .join(JobInputRow, JobInputRow.dataset_id == DatasetRow.id)
        .join(ModelRow, ModelRow.source_job_id == JobInputRow.job_id)
        .where(ModelRow.id == model, DatasetRow.format != PREDICTIONS)
        .order_by(JobInputRow.id)
        .limit(1)
    )
    identity = await session.scalar(query)
    if identity is None:
        return None
    return (await stored_datasets(session, [identity]))[identity].manifest
