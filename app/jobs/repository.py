"""The SQL that reads jobs. `app.queue.ledger` alone writes them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, func, select, tuple_, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.specs.jobs import WITHOUT_STUDENT
from app.contracts.states import JobState
from app.db.rows import (
    ArtifactRow,
    DatasetRow,
    EventRow,
    FileRow,
    JobInputRow,
    JobLabelRow,
    JobRow,
    MetricRow,
    ModelRow,
    ReportRow,
)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows. Inspections, which the service submits itself, are shown only by `kind`."""

    state: JobState | None = None
    kind: str | None = None
    labels: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of one input of a job: its state, and its facts once there are any."""

    state: str
    facts: dict[str, Any] | None


async def find(session: AsyncSession, project_id: str, job_id: str) -> JobRow | None:
    """A job of the project."""
    return await session.scalar(select(JobRow).where(JobRow.id == job_id, JobRow.project_id == project_id))


async def newest(
    session: AsyncSession, project_id: str, shown: JobFilter, after: str | None, limit: int
) -> Sequence[JobRow]:
    """Jobs of the project, newest first (ids sort by creation), older than `after`."""
    query = select(JobRow).where(JobRow.project_id == project_id)
    query = query.where(JobRow.kind == shown.kind if shown.kind else JobRow.kind != "inspect")
    if shown.state is not None:
        query = query.where(JobRow.state == shown.state)
    for key, value in shown.labels:
        labelled = select(JobLabelRow.job_id).where(JobLabelRow.job_id == JobRow.id, JobLabelRow.key == key)
        query = query.where((labelled if value is None else labelled.where(JobLabelRow.value == value)).exists())
    if after is not None:
        query = query.where(JobRow.id < after)
    return (await session.scalars(query.order_by(JobRow.id.desc()).limit(limit))).all()


async def known_resources(
    session: AsyncSession, resource: type[ModelRow] | type[DatasetRow], project_id: str, ids: Collection[str]
) -> dict[str, Known]:
    """State and facts of these models or datasets, where they are the project's."""
    if not ids:
        return {}
    query = select(resource.id, resource.state, resource.facts)
    rows = await session.execute(query.where(resource.id.in_(ids), resource.project_id == project_id))
    return {row.id: Known(row.state, row.facts) for row in rows}


async def known_jobs(session: AsyncSession, project_id: str, ids: Collection[str]) -> dict[str, Known]:
    """State of these jobs, and the facts of the students of those that have succeeded. The state of a job
    of a kind that makes no model is `no_student`.
    """
    if not ids:
        return {}
    query = select(JobRow.id, JobRow.kind, JobRow.state, ModelRow.facts)
    query = query.outerjoin(ModelRow, ModelRow.id == JobRow.student_id)
    query = query.where(JobRow.id.in_(ids), JobRow.project_id == project_id, JobRow.kind != "inspect")
    rows = await session.execute(query)
    return {row.id: Known("no_student" if row.kind in WITHOUT_STUDENT else row.state.value, row.facts) for row in rows}


async def events_after(session: AsyncSession, job_id: str, seq: int, limit: int) -> Sequence[EventRow]:
    """The events that follow `seq`, in order."""
    query = select(EventRow).where(EventRow.job_id == job_id, EventRow.seq > seq)
    return (await session.scalars(query.order_by(EventRow.seq).limit(limit))).all()


async def metrics_after(
    session: AsyncSession, job_id: str, names: Collection[str], place: tuple[str, int], limit: int
) -> Sequence[MetricRow]:
    """Metric points in the order of series and step, after `place`; of all series when `names` is empty."""
    query = select(MetricRow).where(MetricRow.job_id == job_id)
    query = query.where(tuple_(MetricRow.series, MetricRow.step) > place)
    if names:
        query = query.where(MetricRow.series.in_(names))
    return (await session.scalars(query.order_by(MetricRow.series, MetricRow.step).limit(limit))).all()


async def artifact(session: AsyncSession, job_id: str, role: str) -> ArtifactRow | None:
    """An output file of the job."""
    return await session.get(ArtifactRow, (job_id, role))


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
