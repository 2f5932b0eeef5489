"""The SQL that reads jobs. `app.queue.ledger` alone writes them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import BindParameter, Integer, String, Text, bindparam, func, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.specs.jobs import WITHOUT_STUDENT
from app.contracts.states import JobState
from app.db.base import JsonText, json_text
from app.db.engine import Database
from app.db.reads import Query, RowMemory, padded
from app.db.reads.query import AnySelect
from app.db.rows import (
    ArtifactRow,
    DatasetRow,
    FileRow,
    JobInputRow,
    JobLabelRow,
    JobRow,
    ModelRow,
    ReportRow,
)
from app.queue.submission import NewRows

Entry = TypeVar("Entry")
MOST_LABELS: Final = 16
"""Labels that a list may be filtered by."""
_ESCAPE: Final = "!"
_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows. Inspections, which the service submits itself, are shown only by `kind`."""

    state: JobState | None = None
    kind: str | None = None
    text: str | None = None
    """In the name or the id, whatever the case of the letters a to z."""
    labels: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of one input of a job: its state, and its facts once there are any."""

    state: str
    facts: str | None
    """As the JSON text that is stored."""


class StoredJob(NamedTuple):
    """A job's row as an answer needs it; documents are the JSON texts that are stored."""

    id: str
    kind: str
    name: str | None
    state: JobState
    spec: str
    resolved_spec: str | None
    progress: str
    attempt: int
    crashes: int
    device: str | None
    student_id: str | None
    outputs: str
    error: str | None
    checkpoint: str | None
    checkpoint_step: int | None
    checkpoint_sha256: str | None
    retry_of: str | None
    checkpoint_from: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    labels: str
    queue_rank: int
    verdict: str | None

    @property
    def newest_spec(self) -> str:
        """As submitted, or resolved once a worker has begun."""
        return self.spec if self.resolved_spec in (None, "{}") else self.resolved_spec


_COLUMNS: Final = [JobRow.__table__.c[name] for name in StoredJob._fields]
_JOBS: Final = select(*(type_coerce(each, Text) if isinstance(each.type, JsonText) else each for each in _COLUMNS))
_JOB: Final = Query(
    StoredJob._make, _JOBS.where(JobRow.id == bindparam("job_id"), JobRow.project_id == bindparam("project_id"))
)


def stored(row: JobRow) -> StoredJob:
    """The same of a row that a session holds."""
    values = ((each, getattr(row, each.name)) for each in _COLUMNS)
    return StoredJob._make(
        json_text(value) if isinstance(column.type, JsonText) and value is not None else value
        for column, value in values
    )


def of_new(new: NewRows) -> StoredJob:
    """The same of a job that is being submitted."""
    return StoredJob._make(new.job.get(name) for name in StoredJob._fields)


async def find(database: Database, project_id: str, job_id: str) -> StoredJob | None:
    """A job of the project."""
    found = await database.fetch(_JOB, job_id=job_id, project_id=project_id)
    return found[0] if found else None


async def newest(
    database: Database, entries: RowMemory[Entry], project_id: str, shown: JobFilter, after: str | None, limit: int
) -> list[Entry]:
    """Entries of the project's jobs, newest first (ids sort by creation), older than `after`. They are made of the
    values of a StoredJob.
    """
    labels = sorted(shown.labels, key=lambda label: label[1] is None)
    valued = sum(value is not None for _, value in labels)
    given = (shown.kind is not None, shown.state is not None, shown.text is not None, after is not None)
    query = _newest(entries, *given, valued, len(labels))
    values: dict[str, str | int | None] = {"kind": shown.kind, "state": shown.state, "after": after}
    if shown.text is not None:
        exact = f"%{_escaped(shown.text)}%"
        values |= {"exact": exact, "lower": exact.translate(_LOWER)}
    for place, (key, value) in enumerate(labels):
        values |= {f"key_{place}": key, f"value_{place}": value}
    named = {name: value for name, value in values.items() if value is not None}
    return await database.fetch(query, project_id=project_id, limit=limit, **named)


def _escaped(text: str) -> str:
    return "".join(f"{_ESCAPE}{each}" if each in (_ESCAPE, "%", "_") else each for each in text)


@lru_cache(maxsize=16 * (MOST_LABELS + 1) * (MOST_LABELS + 2) // 2)
def _newest(
    entries: RowMemory[Any], kind: bool, state: bool, text: bool, after: bool, valued: int, labels: int
) -> Query[Any]:
    """The query with these filters; the first `valued` of the labels name a value. All that a client can ask for are
    kept: compiling one holds up every request for milliseconds.
    """
    return Query(entries, partial(_select_newest, kind, state, text, after, valued, labels))


def _select_newest(kind: bool, state: bool, text: bool, after: bool, valued: int, labels: int) -> AnySelect:
    # The rows are long: which ones are in the page is found in an index that has all these columns.
    query = select(JobRow.id).where(JobRow.project_id == bindparam("project_id"))
    query = query.where(JobRow.kind == bindparam("kind") if kind else JobRow.kind != "inspect")
    if state:
        query = query.where(type_coerce(JobRow.state, String) == bindparam("state"))
    if text:
        # SQLite lowers the letters a to z alone, PostgreSQL all.
        texts = ((func.lower(JobRow.name), "lower"), (JobRow.name, "exact"), (JobRow.id, "lower"))
        query = query.where(or_(*(each.like(bindparam(name), escape=_ESCAPE) for each, name in texts)))
    for place in range(labels):
        label = select(JobLabelRow.job_id).where(JobLabelRow.job_id == JobRow.id)
        label = label.where(JobLabelRow.key == bindparam(f"key_{place}"))
        if place < valued:
            label = label.where(JobLabelRow.value == bindparam(f"value_{place}"))
        query = query.where(label.exists())
    if after:
        query = query.where(JobRow.id < bindparam("after"))
    page = query.order_by(JobRow.id.desc()).limit(bindparam("limit", type_=Integer)).subquery()
    return _JOBS.join(page, page.c.id == JobRow.id).order_by(JobRow.id.desc())


async def row_of(session: AsyncSession, project_id: str, job_id: str) -> JobRow | None:
    """The row of a job of the project, to be changed in this session."""
    return await session.scalar(select(JobRow).where(JobRow.id == job_id, JobRow.project_id == project_id))


async def known_resources(
    database: Database, resource: type[ModelRow] | type[DatasetRow], project_id: str, ids: Collection[str]
) -> dict[str, Known]:
    """State and facts of these models or datasets, where they are the project's."""
    if not ids:
        return {}
    given = _numbered(ids)
    rows = await database.fetch(_known_resources(resource, len(given)), project_id=project_id, **given)
    return {identity: Known(state, facts) for identity, state, facts in rows}


async def known_jobs(database: Database, project_id: str, ids: Collection[str]) -> dict[str, Known]:
    """State of these jobs, and the facts of the students of those that have succeeded. The state of a job
    of a kind that makes no model is `no_student`.
    """
    if not ids:
        return {}
    given = _numbered(ids)
    rows = await database.fetch(_known_jobs(len(given)), project_id=project_id, **given)
    return {
        identity: Known("no_student" if kind in WITHOUT_STUDENT else state.value, facts)
        for identity, kind, state, facts in rows
    }


def _numbered(ids: Collection[str]) -> dict[str, str]:
    return {f"id_{place}": identity for place, identity in enumerate(padded(ids))}


def _parameters(count: int) -> list[BindParameter[str]]:
    return [bindparam(f"id_{place}", type_=String()) for place in range(count)]


@lru_cache(maxsize=64)
def _known_resources(resource: type[ModelRow] | type[DatasetRow], count: int) -> Query[tuple[Any, ...]]:
    query = select(resource.id, resource.state, type_coerce(resource.facts, Text)).where(
        resource.project_id == bindparam("project_id")
    )
    return Query(tuple, query.where(resource.id.in_(_parameters(count))))


@lru_cache(maxsize=64)
def _known_jobs(count: int) -> Query[tuple[Any, ...]]:
    query = select(JobRow.id, JobRow.kind, JobRow.state, type_coerce(ModelRow.facts, Text))
    query = query.outerjoin(ModelRow, ModelRow.id == JobRow.student_id).where(JobRow.id.in_(_parameters(count)))
    return Query(tuple, query.where(JobRow.project_id == bindparam("project_id"), JobRow.kind != "inspect"))


class StoredArtifact(NamedTuple):
    """An output file of a job."""

    job_id: str
    bytes: int
    sha256: str


_ARTIFACT: Final = Query(
    StoredArtifact._make,
    select(ArtifactRow.job_id, ArtifactRow.bytes, ArtifactRow.sha256).where(
        ArtifactRow.job_id == bindparam("job_id"), ArtifactRow.role == bindparam("role")
    ),
)


async def artifact(database: Database, job_id: str, role: str) -> StoredArtifact | None:
    """The output file of the job with this role."""
    found = await database.fetch(_ARTIFACT, job_id=job_id, role=role)
    return found[0] if found else None


async def artifacts(session: AsyncSession, job_id: str) -> dict[str, ArtifactRow]:
    """The files that the job left, by role."""
    rows = await session.scalars(select(ArtifactRow).where(ArtifactRow.job_id == job_id))
    return {row.role: row for row in rows}


async def report_text(session: AsyncSession, job_id: str) -> str | None:
    """The job's report as the JSON text that is stored."""
    return await session.scalar(select(type_coerce(ReportRow.report, Text)).where(ReportRow.job_id == job_id))


async def named(session: AsyncSession, project_id: str, ids: Collection[str]) -> Sequence[JobRow]:
    """Those of these jobs that are the project's."""
    return (await session.scalars(select(JobRow).where(JobRow.id.in_(ids), JobRow.project_id == project_id))).all()


async def report_texts(session: AsyncSession, ids: Collection[str]) -> dict[str, str]:
    """The stored JSON texts of these jobs' reports."""
    query = select(ReportRow.job_id, type_coerce(ReportRow.report, Text)).where(ReportRow.job_id.in_(ids))
    return dict((await session.execute(query)).all())


async def reports_on_same_data(session: AsyncSession, job_id: str, most: int) -> list[str]:
    """The newest reports, as JSON texts, of the project's other jobs with a student on one of this job's datasets."""
    datasets = select(JobInputRow.dataset_id).where(JobInputRow.job_id == job_id, JobInputRow.dataset_id.is_not(None))
    project = select(JobRow.project_id).where(JobRow.id == job_id).scalar_subquery()
    query = select(type_coerce(ReportRow.report, Text)).join(JobRow, JobRow.id == ReportRow.job_id)
    query = query.where(JobRow.project_id == project, JobRow.id != job_id, JobRow.kind.not_in(WITHOUT_STUDENT))
    same = select(JobInputRow.job_id).where(JobInputRow.dataset_id.in_(datasets))
    query = query.where(JobRow.id.in_(same)).order_by(JobRow.id.desc()).limit(most)
    return list(await session.scalars(query))


async def manifests_of(session: AsyncSession, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The manifests of the datasets of these jobs that still exist, by the datasets' ids."""
    query = select(DatasetRow.id, DatasetRow.manifest).join(JobInputRow, JobInputRow.dataset_id == DatasetRow.id)
    return dict((await session.execute(query.where(JobInputRow.job_id.in_(ids)))).all())


async def looks(session: AsyncSession, project_id: str, datasets: Collection[str]) -> int:
    """Number of jobs of the project that have evaluated on the test split of these datasets, or of copies of them.

    Deleted jobs count too; one that had several of the datasets counts for each.
    """
    files = select(FileRow.sha256).where(FileRow.dataset_id.in_(datasets), FileRow.project_id == project_id)
    same = select(FileRow.dataset_id).where(FileRow.sha256.in_(files), FileRow.project_id == project_id)
    query = select(func.count(JobRow.id.distinct())).join(JobInputRow, JobInputRow.job_id == JobRow.id)
    query = query.where(JobRow.project_id == project_id, JobRow.state == JobState.SUCCEEDED)
    query = query.where(JobRow.kind.not_in(WITHOUT_STUDENT), JobInputRow.dataset_id.in_(same))
    deleted = select(func.sum(DatasetRow.deleted_looks)).where(DatasetRow.id.in_(same))
    return (await session.scalar(query) or 0) + (await session.scalar(deleted) or 0)
