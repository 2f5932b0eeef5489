"""Exports: further files of ready models, each made by one job."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.specs.jobs import ExportJob
from app.contracts.specs.quantization import Export
from app.contracts.states import JobState
from app.db.rows import JobInputRow, JobRow
from app.queue import submission
from app.queue.records import NewJob

_ENDED_WITHOUT = (JobState.FAILED, JobState.CANCELLED)


async def find(session: AsyncSession, model_id: str, wanted: Export) -> JobRow | None:
    """The newest export of this model in this format that has not failed."""
    query = select(JobRow).join(JobInputRow, JobInputRow.job_id == JobRow.id).order_by(JobRow.id.desc())
    query = query.where(JobInputRow.model_id == model_id, JobRow.kind == "export", JobRow.state.not_in(_ENDED_WITHOUT))
    jobs = (await session.scalars(query)).all()
    return next((job for job in jobs if job.spec.get("format") == wanted), None)


async def submit_once(session: AsyncSession, job: NewJob) -> JobRow:
    """The export that this one would repeat, or this one as a new job. The caller holds the model's row locked.

    An export measured on another dataset is another one.
    """
    spec = job.spec
    assert isinstance(spec, ExportJob)
    earlier = await find(session, spec.model, spec.format)
    is_same = earlier is not None and earlier.spec.get("dataset") == spec.dataset
    return earlier if earlier is not None and is_same else await submission.submit(session, job)
