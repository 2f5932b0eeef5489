"""The effects of a job's end: on jobs that wait for it, on the resource that it inspected, and in the outbox."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.problems import JobError, Rejection
from app.contracts.states import TERMINAL, JobState, Trigger
from app.db.clock import utcnow
from app.db.rows import DatasetRow, JobInputRow, JobRow, ModelRow, OutboxRow
from app.db.signals import WORK, announce
from app.queue.transitions import write_state

Resource = type[ModelRow] | type[DatasetRow]
_WAITING = (JobState.QUEUED, JobState.PAUSED)


async def change(
    session: AsyncSession,
    job: JobRow,
    trigger: Trigger,
    *,
    error: JobError | None = None,
    note: Mapping[str, Any] | None = None,
    **changes: Any,
) -> JobState:
    """Change the state of a locked job (`transitions.write_state`), with all effects of its end.

    `error` is stored only if the job fails. Raises IllegalTransition.
    """
    document = None if error is None else error.model_dump(mode="json", by_alias=True)
    if document is not None:
        note = {**(note or {}), "error": document}
        if trigger is Trigger.FAIL and job.state is not JobState.CANCELLING:
            changes["error"] = document
    state = await write_state(session, job, trigger, note, **changes)
    if state in TERMINAL:
        await _apply_end(session, job, error)
    return state


async def _apply_end(session: AsyncSession, job: JobRow, error: JobError | None) -> None:
    await write_outbox(
        session, job.project_id, f"job.{job.state.value}", job.id, {"kind": job.kind, "error": job.error}
    )
    if job.state is JobState.SUCCEEDED:
        return
    if job.kind == "inspect":
        await _reject_subject(session, job, error)
    await _fail_downstream(session, [job.id], f"{job.id} {_ENDED[job.state]}")  # of an inspection: those of a network


_ENDED = {JobState.FAILED: "failed", JobState.CANCELLED: "was cancelled"}


async def write_outbox(
    session: AsyncSession, project_id: str, topic: str, subject: str, payload: Mapping[str, Any]
) -> None:
    """Insert one row into the outbox."""
    await session.execute(
        insert(OutboxRow).values(project_id=project_id, topic=topic, subject=subject, payload=dict(payload))
    )


async def subject_of(session: AsyncSession, job: JobRow) -> tuple[Resource, str] | None:
    """The resource of an inspection; None if it has been deleted."""
    row = (
        await session.execute(
            select(JobInputRow.model_id, JobInputRow.dataset_id).where(
                JobInputRow.job_id == job.id, JobInputRow.role == "subject"
            )
        )
    ).one_or_none()
    if row is None:
        return None
    return (ModelRow, row.model_id) if row.model_id is not None else (DatasetRow, row.dataset_id)


async def _reject_subject(session: AsyncSession, job: JobRow, error: JobError | None) -> None:
    """After an inspection that failed or was cancelled, its resource cannot be used."""
    if error is None:
        reason = Rejection(code="inspection_cancelled", message="the inspection was cancelled: send the manifest again")
    else:
        reason = Rejection(code=error.code, message=error.message)
    subject = await subject_of(session, job)
    if subject is not None:
        await end_verification(session, *subject, state="rejected", rejection=reason.model_dump(mode="json"))


async def end_verification(
    session: AsyncSession,
    resource: Resource,
    resource_id: str,
    *,
    state: Literal["ready", "rejected"],
    **changes: Any,
) -> bool:
    """Change a model or dataset from verifying to ready or rejected; False if it is no longer verifying.

    Jobs that wait for a ready one become claimable; those that wait for a rejected one fail, transitively.
    """
    guarded = update(resource).where(resource.id == resource_id, resource.state == "verifying")
    result = await session.execute(
        guarded.values(state=state, state_since=utcnow(), **changes)
        .returning(resource.project_id)
        .execution_options(synchronize_session=False)
    )
    project_id = result.scalar_one_or_none()
    if project_id is None:
        return False
    kind = "model" if resource is ModelRow else "dataset"
    await write_outbox(session, project_id, f"{kind}.{state}", resource_id, {"rejection": changes.get("rejection")})
    announce(session, resource_id, WORK)
    if state == "rejected":
        await _fail_users(session, resource, resource_id)
    return True


async def _fail_users(session: AsyncSession, resource: Resource, resource_id: str) -> None:
    column = JobInputRow.model_id if resource is ModelRow else JobInputRow.dataset_id
    users = select(JobInputRow.job_id).where(column == resource_id, JobInputRow.role != "subject")
    query = select(JobRow).where(JobRow.id.in_(users), JobRow.state.in_(_WAITING)).order_by(JobRow.id)
    jobs = (await session.scalars(query.with_for_update())).all()
    reason = f"its input {resource_id} was rejected by the inspection"
    await _fail_all(session, jobs, "invalid_input", reason)
    await _fail_downstream(session, [job.id for job in jobs], reason)


async def _fail_downstream(session: AsyncSession, roots: Collection[str], reason: str) -> None:
    """Fail all jobs that wait, directly or indirectly, for one of these ended jobs.

    Rows are locked in the order of their ids, which is that of their creation, so that two such transactions never
    deadlock. A job that was submitted on a dependent while this waited for a lock is found by repeating the query: on
    locked jobs nothing can be submitted.
    """
    if not roots:
        return
    first = select(JobInputRow.job_id).where(JobInputRow.upstream_id.in_(roots))
    below = first.cte("below", recursive=True)
    below = below.union(select(JobInputRow.job_id).where(JobInputRow.upstream_id == below.c.job_id))
    query = (
        select(JobRow)
        .where(JobRow.id.in_(select(below.c.job_id)), JobRow.state.in_(_WAITING))
        .order_by(JobRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    locked: Sequence[JobRow] = ()
    while len(jobs := (await session.scalars(query)).all()) > len(locked):
        locked = jobs
    await _fail_all(session, locked, "dependency_failed", f"it depends on a job that cannot succeed: {reason}")


async def _fail_all(session: AsyncSession, jobs: Sequence[JobRow], code: str, reason: str) -> None:
    error = JobError.model_validate({"code": code, "class": "user", "message": reason})
    document = error.model_dump(mode="json", by_alias=True)
    for job in jobs:
        await write_state(session, job, Trigger.FAIL, {"error": document}, error=document)
        await write_outbox(session, job.project_id, "job.failed", job.id, {"kind": job.kind, "error": document})
        if job.kind == "inspect":  # of predictions, whose dataset was rejected
            await _reject_subject(session, job, error)
