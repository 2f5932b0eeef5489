"""The operations of users: submit, cancel, pause, resume."""

from collections.abc import Sequence
from typing import Any, assert_never

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.specs.jobs import WITHOUT_STUDENT, AnyJob, InspectJob, InternalJob, Reference
from app.contracts.states import JobState, Trigger
from app.db.ids import new_id
from app.db.rows import DatasetRow, JobInputRow, JobLabelRow, JobRow, ModelRow
from app.db.signals import WORK, announce
from app.db.writes import insert_all
from app.queue.ends import change
from app.queue.records import NewJob, UnusableInput
from app.queue.transitions import lock, write_event

_HOPELESS = (JobState.FAILED, JobState.CANCELLED)


async def submit(session: AsyncSession, job: NewJob) -> JobRow:
    """Insert a job with its inputs, labels and first event."""
    inputs = inputs_of_spec(job.spec)
    await _lock_inputs(session, job.project_id, inputs)
    row = _row(job)
    session.add(row)
    await session.flush()
    await insert_all(session, JobInputRow, [{"job_id": row.id, **entry} for entry in inputs])
    labels = [{"job_id": row.id, "key": key, "value": value} for key, value in row.labels.items()]
    await insert_all(session, JobLabelRow, labels)
    await write_event(session, row.id, 1, {"state": row.state.value, "attempt": 0})
    announce(session, WORK, row.id)
    return row


async def act(session: AsyncSession, job_id: str, trigger: Trigger) -> JobRow | None:
    """Cancel, pause or resume; None if there is no such job. Raises IllegalTransition."""
    job = await lock(session, job_id)
    if job is not None:
        await change(session, job, trigger)
    return job


def _row(job: NewJob) -> JobRow:
    spec = job.spec
    return JobRow(
        id=new_id("job"),
        project_id=job.project_id,
        key_id=job.key_id,
        kind=spec.kind,
        lane="inspect" if isinstance(spec, InternalJob) else "train",
        name=None if isinstance(spec, InspectJob) else spec.name,
        labels={} if isinstance(spec, InspectJob) else dict(spec.labels),
        spec=spec.model_dump(mode="json"),
        queue_rank=-job.priority,
        threads=job.threads,
        resolved_spec=None if job.resolved_spec is None else dict(job.resolved_spec),
        retry_of=job.retry_of,
        checkpoint_from=job.checkpoint_from,
        state=JobState.QUEUED,
        last_seq=1,
    )


def inputs_of_spec(spec: AnyJob) -> list[dict[str, Any]]:
    """The rows of job_inputs for a spec, without the job's id; each input once. A preflight has those of its job."""
    if isinstance(spec, InspectJob):
        if spec.network is not None:
            return []
        subject = _entry("subject", model_id=spec.model, dataset_id=spec.dataset)
        return [subject] if spec.of is None else [subject, _entry("dataset", dataset_id=spec.of)]
    entries = [_input(ref) for ref in spec.references()]
    return [entry for i, entry in enumerate(entries) if entry not in entries[:i]]


def _input(ref: Reference) -> dict[str, Any]:
    match ref.kind:
        case "dataset":
            return _entry("dataset", dataset_id=ref.identity)
        case "model":
            return _entry("teacher", model_id=ref.identity)
        case "job":
            return _entry("teacher", upstream_id=ref.identity)
        case _:
            assert_never(ref.kind)


def _entry(
    role: str, *, model_id: str | None = None, dataset_id: str | None = None, upstream_id: str | None = None
) -> dict[str, Any]:
    return {"role": role, "model_id": model_id, "dataset_id": dataset_id, "upstream_id": upstream_id}


async def _lock_inputs(session: AsyncSession, project_id: str, inputs: Sequence[dict[str, Any]]) -> None:
    """Share-lock every input's row, and check that it is ready or may become ready.

    Resources first, then jobs, in the same order as in `ends`. Of a job that has succeeded, the student is the input.
    """
    awaited = [entry for entry in inputs if entry["role"] != "subject"]
    await _lock_resources(session, ModelRow, project_id, _named(awaited, "model_id"))
    await _lock_resources(session, DatasetRow, project_id, _named(awaited, "dataset_id"))
    students = await _lock_jobs(session, project_id, _named(awaited, "upstream_id"))
    await _lock_resources(session, ModelRow, project_id, students)


def _named(inputs: Sequence[dict[str, Any]], column: str) -> dict[str, str]:
    return {entry[column]: entry[column] for entry in inputs if entry[column] is not None}


async def _lock_resources(
    session: AsyncSession, resource: type[ModelRow] | type[DatasetRow], project_id: str, references: dict[str, str]
) -> None:
    """`references` maps row ids to the ids in the spec."""
    if not references:
        return
    query = select(resource.id, resource.state).where(resource.id.in_(references), resource.project_id == project_id)
    locked = await session.execute(query.order_by(resource.id).with_for_update(read=True))
    states = dict(locked.all())
    for row_id, reference in references.items():
        state = states.get(row_id, "missing")
        if state in ("missing", "rejected"):
            raise UnusableInput(reference, state)


async def _lock_jobs(session: AsyncSession, project_id: str, references: dict[str, str]) -> dict[str, str]:
    """The students of the jobs that have succeeded: model id -> job id."""
    if not references:
        return {}
    query = select(JobRow.id, JobRow.kind, JobRow.state, JobRow.student_id).where(
        JobRow.id.in_(references), JobRow.project_id == project_id, JobRow.kind != "inspect"
    )
    found = {row.id: row for row in await session.execute(query.order_by(JobRow.id).with_for_update(read=True))}
    students = {}
    for job_id in references:
        row = found.get(job_id)
        if row is not None and row.kind in WITHOUT_STUDENT:
            raise UnusableInput(job_id, "no_student")
        if row is None:
            raise UnusableInput(job_id, "missing")
        if row.state is JobState.SUCCEEDED and row.student_id is None:
            raise UnusableInput(job_id, "student_deleted")
        if row.state in _HOPELESS:
            raise UnusableInput(job_id, row.state.value)
        if row.student_id is not None:
            students[row.student_id] = job_id
    return students
