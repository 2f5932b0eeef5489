"""A job as clients see it."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from app.contracts.base import Answer
from app.contracts.problems import JobError
from app.contracts.specs.jobs import AnySpec, DistillJob, JobKind, MultitaskJob, PreflightJob, TrainJob
from app.contracts.states import JobState
from app.contracts.wire.events import JobEvent, Progress
from app.db.rows import EventRow, JobRow
from app.http.pages import Page


class JobOutput(Answer):
    """A model that the job made."""

    role: str
    model: str


class KeptCheckpoint(Answer):
    """A checkpoint that a retry can start from."""

    name: str = Field(description="As its event says it.")
    step: int = Field(description="The optimiser step after which it was taken.")
    sha256: str = Field(description="Of its manifest.")


class Job(Answer):
    """A job."""

    id: str
    object: Literal["job"] = "job"
    kind: JobKind
    name: str | None
    state: JobState
    spec: AnySpec = Field(description="As submitted with its defaults; fully resolved once a worker has begun.")
    progress: Progress
    attempt: int = Field(description="Rises each time a worker takes the job.")
    crashes: int = Field(description="Unclean ends since the last new checkpoint.")
    device: str | None
    student: str | None = Field(description="The model, once the job has succeeded; a preflight makes none.")
    outputs: tuple[JobOutput, ...]
    error: JobError | None
    checkpoint: KeptCheckpoint | None = Field(
        description="The newest one that is kept; of a cancelled or failed job it is what is left, beside its events "
        "and metrics. null before the first, after success, and once it was kept long enough."
    )
    retry_of: str | None = Field(description="The failed or cancelled job that this one repeats.")
    checkpoint_from: str | None = Field(description="The job whose checkpoint this one started from.")
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    labels: dict[str, str]


class DryRun(Answer):
    """What a job would be."""

    spec: TrainJob | DistillJob | MultitaskJob | PreflightJob = Field(description="Resolved, with every default.")
    complete: bool = Field(description="False while an input is being inspected or trained: the rest is checked later.")
    parameters: int | None = Field(description="Of the student; null while its shapes are not known.")
    flops: int | None = Field(description="Of one row's forward pass; null while the shapes are not known.")
    warnings: tuple[dict[str, str], ...]


class Point(Answer):
    """One value of a metric series."""

    step: int
    epoch: int
    time: AwareDatetime
    value: float | None = Field(description="null where it was not finite.")


class Metrics(Answer):
    """Every metric series of a job."""

    series: dict[str, tuple[Point, ...]]
    latest: dict[str, Point]


class JobPage(Page[Job]):
    """A page of jobs."""


class JobEventPage(Page[JobEvent]):
    """A page of events, oldest first."""


def job_view(row: JobRow) -> Job:
    """The view of a row. What a newer version wrote and this one does not know is left out."""
    document: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("id", "kind", "name", "state", "progress", "attempt", "crashes", "device", "outputs", "error")
    }
    document |= {"retry_of": row.retry_of, "checkpoint_from": row.checkpoint_from}
    document |= {
        "checkpoint": _kept(row),
        "spec": row.resolved_spec or row.spec,
        "student": row.student_id,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "labels": row.labels,
    }
    return Job.model_validate(document, strict=False, extra="ignore")


def _kept(row: JobRow) -> dict[str, Any] | None:
    if row.checkpoint is None or row.state is JobState.SUCCEEDED:
        return None
    return {"name": row.checkpoint, "step": row.checkpoint_step, "sha256": row.checkpoint_sha256}


def event_view(row: EventRow) -> JobEvent:
    """The view of an event."""
    return JobEvent.model_validate({"seq": row.seq, "type": row.type, "time": row.time, "data": row.data})
