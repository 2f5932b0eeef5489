"""Jobs: submit, cancel, pause, resume, and read their results."""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access import limits
from app.access.waiting import until
from app.contracts.base import canonical_json
from app.contracts.resources.splits import SplitName
from app.contracts.states import TERMINAL, IllegalTransition, JobState
from app.db.reads import RowMemory
from app.db.rows import JobRow
from app.http.answers import json_answer, json_text_answer
from app.http.bodies import read_json
from app.http.errors import Conflict, Invalid, NotFound
from app.http.files import ServedFile, blob
from app.http.idempotency import fingerprint_of, replay, reused
from app.http.services import Caller, Services
from app.jobs import cuts, predictions, repository, submission
from app.jobs.repository import JobFilter, StoredArtifact, StoredJob
from app.jobs.schemas import job_json
from app.jobs.submission import Submitted
from app.queue import idempotency
from app.queue.idempotency import Answer
from app.queue.keys import quotas
from app.queue.records import NewJob, NotDeletable, UnusableInput
from app.queue.submission import Keyed, Occupied, Submission, new_rows
from app.storage.errors import StorageFull

T = TypeVar("T")
Action = Literal["cancel", "pause", "resume"]
_ALREADY: Final[dict[Action, tuple[JobState, ...]]] = {
    "cancel": (JobState.CANCELLING, JobState.CANCELLED),
    "pause": (JobState.PAUSING, JobState.PAUSED),
    "resume": (),
}
"""States in which the action was done before: repeating it returns the job unchanged."""


def _entry(values: Sequence[Any]) -> tuple[str, str]:
    job = StoredJob._make(values)
    return job.id, job_json(job)


_ENTRIES: Final = RowMemory(_entry)
"""The entries of lists."""


async def submit(
    services: Services, caller: Caller, request: Request, key: str | None, *, priority: int, dry: bool
) -> Response:
    """`POST`: the job's row, its inputs, its first event and its idempotency key in one transaction."""
    new = submission.submitted(await read_json(request, services.pace))
    if dry:
        return json_answer(await submission.answered_dry(services, caller, new))
    refusal = await refused(services, caller, new)
    if refusal is not None and key is None:
        raise refusal
    rows = new_rows(_job(services, caller, new, priority))
    content, location = job_json(repository.of_new(rows)), f"/v1/jobs/{rows.id}"
    keyed = None if key is None else Keyed(key, _fingerprint(new, priority), Answer(202, content, location))
    admits = partial(limits.beyond, services.settings)
    try:
        first = await services.submissions.submit(caller.key_id, Submission(rows, admits, keyed, refusal))
    except Occupied:
        return await _submit_in_session(services, caller, key, new, priority)
    except (idempotency.KeyReused, UnusableInput) as error:
        raise _problem_of(new, error) from None
    return replay(first) if first is not None else json_text_answer(content, 202, {"Location": location})


async def _submit_in_session(
    services: Services, caller: Caller, key: str | None, new: Submitted, priority: int
) -> Response:
    """The same where something else holds the Idempotency-Key, which may end meanwhile."""
    refusal = await refused(services, caller, new)

    async def make(session: AsyncSession) -> JobRow:
        if refusal is not None:
            raise refusal
        try:
            return await services.ledger.submit(session, _job(services, caller, new, priority))
        except UnusableInput as error:
            raise submission.unusable(new.spec, error) from None

    return await create_once(services, caller, key, _fingerprint(new, priority), make)


def _job(services: Services, caller: Caller, new: Submitted, priority: int) -> NewJob:
    return NewJob(
        spec=new.spec,
        project_id=caller.project_id,
        key_id=caller.key_id,
        threads=services.settings.threads,
        priority=priority,
        spec_text=new.text,
    )


def _fingerprint(new: Submitted, priority: int) -> str:
    operation = f"POST /v1/jobs?priority={priority}" if priority else "POST /v1/jobs"
    return fingerprint_of(operation, canonical_json(new.spec))


def _problem_of(new: Submitted, error: idempotency.KeyReused | UnusableInput) -> Invalid:
    return reused() if isinstance(error, idempotency.KeyReused) else submission.unusable(new.spec, error)


async def create_once(
    services: Services,
    caller: Caller,
    key: str | None,
    fingerprint: str,
    make: Callable[[AsyncSession], Awaitable[JobRow]],
) -> Response:
    """Create a job and store its Idempotency-Key in one transaction.

    The first answer is repeated even if the inputs have changed since, so the key is looked up before `make` runs,
    which raises for an invalid job.
    """

    async def work(session: AsyncSession) -> Response:
        await quotas.lock(session, caller.key_id)  # before any other row, as `Submissions`
        first = None if key is None else await _first_answer(session, caller, key, fingerprint)
        if first is not None:
            return replay(first)
        await limits.admit_job(services, caller, session)
        row = await make(session)
        content, location = job_json(repository.stored(row)), _location(row.id)
        if key is not None:
            await idempotency.remember(session, caller.key_id, key, fingerprint, Answer(202, content, location))
        return json_text_answer(content, 202, {"Location": location})

    return await services.database.together(work)


def _location(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


async def _first_answer(session: AsyncSession, caller: Caller, key: str, fingerprint: str) -> idempotency.Answer | None:
    try:
        return await idempotency.find(session, caller.key_id, key, fingerprint, caller.project_id)
    except idempotency.KeyReused:
        raise reused() from None
    except idempotency.InFlight as error:
        raise Conflict("in_flight", str(error)) from None


async def refused(services: Services, caller: Caller, new: Submitted) -> Invalid | StorageFull | None:
    """The error of this job, as far as its inputs are known now; None if it is valid."""
    try:
        submission.require_disk_space(services, await submission.resolved(services, caller, new))
    except (Invalid, StorageFull) as error:
        return error
    return None


async def get(services: Services, caller: Caller, job_id: str, wait: float = 0.0) -> StoredJob:
    """The job. Waits up to `wait` seconds for its end. Raises NotFound."""

    async def load() -> StoredJob:
        return existing(await repository.find(services.database, caller.project_id, job_id))

    with limits.counted_wait(services, caller, wait):
        return await until(services, caller, job_id, wait, load, lambda job: job.state in TERMINAL)


def existing(row: T | None) -> T:
    """The same row; raises NotFound without one."""
    if row is None:
        raise NotFound("unknown_job", "no job has this id (they begin with `job_`): `GET /v1/jobs` lists them")
    return row


async def listed(
    services: Services, caller: Caller, shown: JobFilter, after: str | None, limit: int
) -> list[tuple[str, str]]:
    """Up to `limit + 1` entries as JSON, newest first."""
    return await repository.newest(services.database, _ENTRIES, caller.project_id, shown, after, limit + 1)


async def act(services: Services, caller: Caller, job_id: str, action: Action) -> str:
    """Cancel, pause or resume; repeating it has no effect. The job as JSON. Raises NotFound, Conflict."""
    change = getattr(services.ledger, action)

    async def work(session: AsyncSession) -> str:
        row = existing(await repository.row_of(session, caller.project_id, job_id))
        if row.kind == "inspect" and action != "cancel":
            raise Conflict("inspection", "an inspection cannot be paused: cancel it, or wait for its end")
        try:
            row = await change(session, job_id) or row
        except IllegalTransition as error:
            if error.state not in _ALREADY[action]:
                raise Conflict("illegal_transition", f"{error}: `GET /v1/jobs/{job_id}` shows its state") from None
        return job_json(repository.stored(row))

    return await services.database.together(work)


async def delete(services: Services, caller: Caller, job_id: str) -> None:
    """Delete an ended job, and the answers that name it.

    Raises NotFound, and Conflict where it has not ended or others need it.
    """
    async with services.database.write() as session:
        existing(await repository.row_of(session, caller.project_id, job_id))
        try:
            await services.ledger.delete(session, job_id)
        except NotDeletable as error:
            raise Conflict(error.code, str(error)) from None
        await idempotency.forget(session, _location(job_id))


async def report(services: Services, caller: Caller, job_id: str) -> tuple[StoredJob, str]:
    """A job that has succeeded, and its report as JSON. Raises NotFound, Conflict."""
    row = await get(services, caller, job_id)
    if row.kind == "export" and json.loads(row.spec).get("dataset") is None:
        raise NotFound(
            "no_such_file",
            "an export without a `dataset` has no report, and its file is the model's: `/weights?format=` of it",
        )
    row = _succeeded(row, has_report=True)
    async with services.database.read() as session:
        text = existing(await repository.report_text(session, row.id))  # the job may be deleted since it was read
    return row, text


async def student_weights(services: Services, caller: Caller, job_id: str, task: str | None) -> ServedFile:
    """The student's safetensors, or the part for one task. They are kept when the student is deleted as a model. Raises
    NotFound, Conflict.
    """
    file = await _artifact(services, caller, job_id, "student")
    if task is not None:
        kind = (await get(services, caller, job_id)).kind
        if kind != "multitask":
            raise NotFound("not_multitask", f"the student of a {kind} job has one task: leave `task` out")
        return await cuts.of_task(services, file, task)
    return blob(services, f"{job_id}.safetensors", file.bytes, file.sha256)


async def predictions_of(services: Services, caller: Caller, job_id: str, split: SplitName) -> ServedFile:
    """The outputs of teacher, student and control on one split. Raises NotFound, Conflict."""
    _succeeded(await get(services, caller, job_id))
    return await predictions.of_split(services, job_id, split)


async def _artifact(services: Services, caller: Caller, job_id: str, role: str) -> StoredArtifact:
    _succeeded(await get(services, caller, job_id))
    row = await repository.artifact(services.database, job_id, role)
    if row is None:
        raise NotFound("no_such_file", f"this job has no {role} file: its `outputs` lists what it has")
    return row


def _succeeded(row: StoredJob, *, has_report: bool = False) -> StoredJob:
    """`has_report`: whether a report is asked for, which exports may have."""
    if row.kind == "inspect":
        raise NotFound(
            "no_such_file", "an inspection has neither report nor files: its model or dataset has its result"
        )
    if row.kind == "export" and not has_report:
        raise NotFound("no_such_file", "the file of an export is the model's: `/weights?format=` of it")
    if row.state not in TERMINAL:
        raise Conflict("not_finished", f"the job is {row.state.value}: `?wait=60` on it waits for its end")
    if row.state is not JobState.SUCCEEDED:
        raise Conflict("not_succeeded", f"the job is {row.state.value}: it has neither report nor files")
    return row
