"""Whether every accepted job ended as it should, and how long each fault delayed one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select

from app.contracts.states import LEASED, TERMINAL, JobState
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.rows import ArtifactRow, EventRow, FileRow, JobRow, ModelRow, OutboxRow
from tests.faults.campaign.outcome import Outcome, together

SPARE: Final = 15.0
"""Seconds beyond the lease after which a job that its dead worker still holds counts as stuck."""


@dataclass(frozen=True)
class Hit:
    """A fault during an attempt, and when it happened by the clock of events."""

    job_id: str
    attempt: int
    when: datetime


async def jobs_held_by(database: Database, pid: int) -> list[Hit]:
    """The attempts of a supervisor that is about to be killed or stopped."""
    now = utcnow()  # before the look: what happens after it came after the fault
    mine = JobRow.lease_owner.startswith(f"{pid}-", autoescape=True)
    async with database.read() as session:
        rows = (await session.execute(select(JobRow.id, JobRow.attempt).where(JobRow.state.in_(LEASED), mine))).all()
    return [Hit(job_id, attempt, now) for job_id, attempt in rows]


async def unended(database: Database, jobs: Sequence[str]) -> list[str]:
    """The jobs that have not ended."""
    async with database.read() as session:
        rows = await session.scalars(select(JobRow.id).where(JobRow.id.in_(jobs), JobRow.state.not_in(TERMINAL)))
        return list(rows)


async def none_near_its_end(database: Database, jobs: Sequence[str]) -> bool:
    """Whether no job would fail at one more crash: the third crash without a new checkpoint fails a job."""
    async with database.read() as session:
        near = select(JobRow.id).where(JobRow.id.in_(jobs), JobRow.crashes >= 2, JobRow.state.not_in(TERMINAL))
        return await session.scalar(near.limit(1)) is None


async def kept(
    database: Database,
    jobs: Sequence[str],
    students: Mapping[str, str],
    hits: Sequence[Hit],
    lease_seconds: float,
) -> Outcome:
    """The outcome of jobs that should all have succeeded. `students`: the expected digest of each."""
    by_job = [await _kept_to(database, job_id, students[job_id], hits, lease_seconds) for job_id in jobs]
    return together(by_job)


async def _kept_to(database: Database, job_id: str, student: str, hits: Sequence[Hit], lease_seconds: float) -> Outcome:
    async with database.read() as session:
        job = await session.get_one(JobRow, job_id)
        events = list(await session.scalars(select(EventRow).where(EventRow.job_id == job_id).order_by(EventRow.seq)))
        models = await session.scalar(select(func.count()).where(ModelRow.source_job_id == job_id)) or 0
        messages = list(await session.scalars(select(OutboxRow.topic).where(OutboxRow.subject == job_id)))
        artifacts = await session.scalar(select(func.count()).where(ArtifactRow.job_id == job_id)) or 0
        digests = set(
            await session.scalars(
                select(FileRow.sha256).where(FileRow.model_id == job.student_id, FileRow.role == "weights")
            )
        )
    states = [str(event.data["state"]) for event in events if event.type == "state"]
    ends = [state for state in states if state in TERMINAL]
    mine = [hit for hit in hits if hit.job_id == job_id and not _ended_before(events, hit)]
    waits = [_until(_runs_again, events, hit) for hit in mine]
    freed = [_until(_moved, events, hit) for hit in mine]
    late = [wait for wait in freed if wait is None or wait > lease_seconds + SPARE]
    succeeded = job.state is JobState.SUCCEEDED
    return Outcome(
        lost=int(not succeeded or models == 0 or artifacts == 0),
        doubled=int(len(ends) > 1 or models > 1 or len(messages) > 1),
        stuck=int(job.state not in TERMINAL or bool(late)),
        stale=tuple(_stale(job, events, states, models)),
        bit_exact=digests == {student} if succeeded else None,
        recovery=max((wait for wait in waits if wait is not None), default=None),
    )


def _ended_before(events: Sequence[EventRow], hit: Hit) -> bool:
    """Whether a job had ended when the fault came, in a transaction that was committed after the look."""
    ends = [event for event in events if event.type == "state" and str(event.data["state"]) in TERMINAL]
    return any(event.time < hit.when for event in ends)


def _until(wanted: Callable[[Mapping[str, Any], int], bool], events: Sequence[EventRow], hit: Hit) -> float | None:
    """Seconds from a fault until a state of the job is as wanted."""
    for event in events:
        if event.type == "state" and event.time >= hit.when and wanted(event.data, hit.attempt):
            return (event.time - hit.when).total_seconds()
    return None


def _moved(state: Mapping[str, Any], attempt: int) -> bool:
    """The dead worker holds the job no longer: it is stuck until then. When it runs again depends on free slots."""
    return True


def _runs_again(state: Mapping[str, Any], attempt: int) -> bool:
    return (state["state"] == "running" and state["attempt"] > attempt) or state["state"] in TERMINAL


def _stale(job: JobRow, events: Sequence[EventRow], states: Sequence[str], models: int) -> list[str]:
    """Contradictions in the rows of an ended job."""
    problems = []
    if job.state in TERMINAL and (job.lease_owner is not None or job.lease_expires is not None):
        problems.append(f"{job.id} has ended and is leased to {job.lease_owner}")
    if [event.seq for event in events] != list(range(1, len(events) + 1)):
        problems.append(f"{job.id} has gaps in its events")
    if job.last_seq != len(events):
        problems.append(f"{job.id} counts {job.last_seq} events and has {len(events)}")
    if states.count("starting") != job.attempt:
        problems.append(f"{job.id} was claimed {states.count('starting')} times and counts {job.attempt} attempts")
    if job.state is not JobState.SUCCEEDED and models:
        problems.append(f"{job.id} has {models} models and did not succeed")
    return problems
