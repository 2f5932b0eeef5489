"""Deleting an ended job with everything that is its own: inputs, labels, events, metrics, files, report.

The rows go by their foreign keys; blobs that nothing refers to any more are released. A notification `job.deleted`
tells the workers that the folder of a job that the database no longer knows may go. What stays: notifications in the
outbox; and how often the job has looked at a test split, which its datasets count.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.specs.jobs import WITHOUT_STUDENT
from app.contracts.states import TERMINAL, JobState
from app.db.engine import Database
from app.db.rows import ArtifactRow, DatasetRow, JobInputRow, JobRow, ModelRow, NetworkRow, OutboxRow
from app.db.signals import announce
from app.queue.blobs import release_blobs
from app.queue.ended.unfinished import unfinished
from app.queue.ends import write_outbox
from app.queue.records import NotDeletable
from app.queue.transitions import lock

DELETED: Final = "job.deleted"
"""Topic of the notification of a deletion."""


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
    digests = (await session.scalars(select(ArtifactRow.sha256).where(ArtifactRow.job_id == job_id))).all()
    await _execute(session, delete(JobRow).where(JobRow.id == job_id))
    await release_blobs(session, digests, job.key_id)
    await write_outbox(session, job.project_id, DELETED, job_id, {"kind": job.kind})
    announce(session, job_id)
    return True


async def deleted(database: Database, job_ids: Collection[str]) -> set[str]:
    """Which of these jobs, that the database no longer has, were deleted from it."""
    if not job_ids:
        return set()
    known = select(OutboxRow.subject).where(OutboxRow.subject.in_(job_ids), OutboxRow.topic == DELETED)
    async with database.read() as session:
        return set((await session.scalars(known)).all())


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
