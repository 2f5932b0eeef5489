"""Deleting an ended job with everything that is its own: inputs, labels, events, metrics, files, report.

The rows go by their foreign keys; blobs that nothing refers to any more are collected later. What stays: notifications
in the outbox; and how often the job has looked at a test split, which its datasets count.
"""

from typing import Any

from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.specs.jobs import WITHOUT_STUDENT
from app.contracts.states import TERMINAL, JobState
from app.db.rows import DatasetRow, JobInputRow, JobRow, ModelRow, NetworkRow
from app.db.signals import announce
from app.queue.ended.unfinished import unfinished
from app.queue.records import NotDeletable
from app.queue.transitions import lock


async def delete_job(session: AsyncSession, job_id: str) -> bool:
    """Delete the job; False if there is none. Raises NotDeletable.

    Its datasets are locked first, then the job, in the order of `submission`. On a locked job nothing can be submitted.
    """
    datasets = (await session.scalars(_datasets_of(job_id).order_by(DatasetRow.id).with_for_update())).all()
    job = await lock(session, job_id)
    if job is None:
        return False
    await _check(session, job)
    if job.state is JobState.SUCCEEDED and job.kind not in WITHOUT_STUDENT:
        looked = update(DatasetRow).where(DatasetRow.id.in_(datasets))
        await _execute(session, looked.values(deleted_looks=DatasetRow.deleted_looks + 1))
    await _execute(session, delete(JobRow).where(JobRow.id == job_id))
    announce(session, job_id)
    return True


def _datasets_of(job_id: str) -> Select[str]:
    inputs = select(JobInputRow.dataset_id).where(JobInputRow.job_id == job_id, JobInputRow.role == "dataset")
    return select(DatasetRow.id).where(DatasetRow.id.in_(inputs))


async def _execute(session: AsyncSession, statement: Any) -> None:
    await session.execute(statement.execution_options(synchronize_session=False))


async def _check(session: AsyncSession, job: JobRow) -> None:
    if job.state not in TERMINAL:
        raise NotDeletable("not_finished", unfinished(job.state))
    model = await session.scalar(select(ModelRow.id).where(ModelRow.source_job_id == job.id).order_by(ModelRow.id))
    if model is not None:
        raise NotDeletable("has_student", f"its student {model} is a model: `DELETE /v1/models/{model}` first")
    upstream = select(JobInputRow.job_id).where(JobInputRow.upstream_id == job.id)
    needs = or_(JobRow.id.in_(upstream), JobRow.checkpoint_from == job.id)
    user = await session.scalar(select(JobRow.id).where(needs, JobRow.state.not_in(TERMINAL)).order_by(JobRow.id))
    if user is not None:
        raise NotDeletable("in_use", f"the unfinished job {user} needs this job: cancel it first, or wait for its end")
    if await session.scalar(select(NetworkRow.digest).where(NetworkRow.job_id == job.id).limit(1)) is not None:
        raise NotDeletable(
            "keeps_network", "this inspection has measured a network, for the jobs that train it: leave it as it is"
        )
