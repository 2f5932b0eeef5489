"""A job as clients see it."""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from app.contracts.base import Answer
from app.contracts.problems import Chosen, JobError
from app.contracts.reports.verdict_words import VerdictWord
from app.contracts.specs.jobs import ANY_SPEC, AnySpec, JobKind, SubmittableJob
from app.contracts.states import JobState
from app.contracts.wire.events import JobEvent, Progress
from app.http.pages import Page
from app.jobs.repository import StoredJob


class JobOutput(Answer):
    """A model that the job made."""

    role: str = Field(description="`student`, or `peer-1`, `peer-2` … for the other students of mutual learning.")
    model: str = Field(description="The model's id.")


class KeptCheckpoint(Answer):
    """A checkpoint that a retry can start from."""

    name: str = Field(description="Name, as in its `checkpoint` event.")
    step: int = Field(description="Optimizer step after which it was taken.")
    sha256: str = Field(description="SHA-256 of its manifest.")


class Job(Answer):
    """A job."""

    id: str = Field(description="`job_` and a UUIDv7.")
    object: Literal["job"] = "job"
    kind: JobKind = Field(
        description="Kind of the job; `inspect` is the service's own check of an upload, "
        "`export` adds a file to a model."
    )
    name: str | None = Field(description="Name given by the client, not necessarily unique; null without one.")
    state: JobState = Field(description="Current state; `succeeded`, `failed` and `cancelled` are final.")
    spec: AnySpec = Field(description="As submitted with its defaults; fully resolved once a worker has begun.")
    priority: int = Field(
        description="Of the waiting jobs of one key the highest goes first; between keys the queue is shared fairly."
    )
    progress: Progress = Field(description="How far the job is.")
    attempt: int = Field(description="Number of times that a worker has taken the job.")
    crashes: int = Field(description="Crashes and lost workers since the newest checkpoint; the third fails the job.")
    device: str | None = Field(
        description="Device of the latest attempt, such as `cpu` or `cuda:0`; null before the first attempt."
    )
    student: str | None = Field(
        description="Id of the trained model; null until the job has succeeded, and for jobs that train none."
    )
    outputs: tuple[JobOutput, ...] = Field(description="Models that the job made; empty until it has succeeded.")
    error: JobError | None = Field(
        description="Why the job failed or, until it has ended, why its latest attempt broke off; null where nothing "
        "went wrong."
    )
    checkpoint: KeptCheckpoint | None = Field(
        description="Newest checkpoint; a retry of a failed or cancelled job can start from it. null before the first, "
        "after success, and once it has been deleted."
    )
    retry_of: str | None = Field(
        description="Id of the failed or cancelled job that this one retries, which may be deleted by now; "
        "null where it is no retry."
    )
    checkpoint_from: str | None = Field(
        description="Id of the job whose checkpoint this one started from, which may be deleted by now; null where it "
        "started anew."
    )
    created_at: AwareDatetime = Field(description="When the job was accepted (RFC 3339, UTC).")
    started_at: AwareDatetime | None = Field(
        description="When a worker first began the work (RFC 3339, UTC); null before."
    )
    finished_at: AwareDatetime | None = Field(
        description="When the job reached a final state (RFC 3339, UTC); null before."
    )
    labels: dict[str, str] = Field(description="Labels given by the client.")
    verdict: dict[str, VerdictWord] | None = Field(
        default=None,
        description="Whether the teachers helped, by task, as in the report; null until the job has succeeded, and for "
        "jobs that have no verdict.",
    )


class DryRun(Answer):
    """What a job would be."""

    spec: SubmittableJob = Field(description="The resolved spec, with every default.")
    complete: bool = Field(description="False while an input is being inspected or trained: the rest is checked later.")
    parameters: int | None = Field(
        description="Number of parameters of the student; null while its shapes are not known."
    )
    flops: int | None = Field(description="FLOPs of a forward pass of one row; null while the shapes are not known.")
    warnings: tuple[dict[str, str], ...] = Field(
        description="Each with a stable `code` and a `message`; they do not prevent submission."
    )
    chosen: dict[str, Chosen] = Field(
        default_factory=dict,
        description="What the recipe chose for fields that were left out, by JSON pointer to the field in `spec`.",
    )
    test_looks: int = Field(
        default=0,
        description="How often the test split has been looked at: succeeded training jobs of the project on the same "
        "files. `GET /v1/compare` corrects for it.",
    )


class Point(Answer):
    """One value of a metric series."""

    step: int = Field(description="Optimizer step, counted from 1.")
    epoch: int = Field(description="Epoch, counted from 1.")
    time: AwareDatetime = Field(description="When the service recorded the point (RFC 3339, UTC).")
    value: float | None = Field(description="Value; null where it was not finite.")


class Metrics(Answer):
    """Every metric series of a job."""

    series: dict[str, tuple[Point, ...]] = Field(
        description="Points of each series in the order of their steps, by name, such as `train/loss` or "
        "`validation/<task>/accuracy`."
    )
    latest: dict[str, Point] = Field(description="The last point of each series, by name.")


_ENCODED: Final = json.JSONEncoder(ensure_ascii=False).encode
_PROGRESS: Final = TypeAdapter(Progress)
_OUTPUTS: Final = TypeAdapter(tuple[JobOutput, ...])
_ERROR: Final = TypeAdapter(JobError)


class JobPage(Page[Job]):
    """A page of jobs."""


class JobEventPage(Page[JobEvent]):
    """A page of events, oldest first."""


def job_json(job: StoredJob) -> str:
    """A `Job` as JSON, put together from the stored texts."""
    name, device = json_string(job.name), json_string(job.device)
    return (
        f'{{"id":"{job.id}","object":"job","kind":"{job.kind}","name":{name},"state":"{job.state.value}",'
        f'"spec":{_shown(ANY_SPEC, job.newest_spec)},"priority":{-job.queue_rank},'
        f'"progress":{_shown(_PROGRESS, job.progress)},"attempt":{job.attempt},"crashes":{job.crashes},'
        f'"device":{device},"student":{json_string(job.student_id)},'
        f'"outputs":{_shown(_OUTPUTS, job.outputs)},'
        f'"error":{"null" if job.error is None else _shown(_ERROR, job.error)},"checkpoint":{_kept(job)},'
        f'"retry_of":{json_string(job.retry_of)},"checkpoint_from":{json_string(job.checkpoint_from)},'
        f'"created_at":{json_time(job.created_at)},"started_at":{json_time(job.started_at)},'
        f'"finished_at":{json_time(job.finished_at)},"labels":{job.labels},"verdict":{job.verdict or "null"}}}'
    )


def json_string(value: str | None) -> str:
    """A text as JSON."""
    return "null" if value is None else _ENCODED(value)


def json_time(value: datetime | None) -> str:
    """A time in UTC as JSON (RFC 3339)."""
    return "null" if value is None else f'"{value.isoformat()[:-6]}Z"'


def _kept(job: StoredJob) -> str:
    if job.checkpoint is None or job.state is JobState.SUCCEEDED:
        return "null"
    kept = KeptCheckpoint.model_validate(
        {"name": job.checkpoint, "step": job.checkpoint_step, "sha256": job.checkpoint_sha256}
    )
    return kept.model_dump_json()


def _shown(adapter: TypeAdapter[Any], text: str) -> str:
    """A stored document as this version answers it: fields that only a newer version knows are left out, and those that
    an earlier one did not write have their defaults.
    """
    return (_once if len(text) <= _LONGEST_KEPT else _answered)(adapter, text)


def _answered(adapter: TypeAdapter[Any], text: str) -> str:
    found = adapter.validate_json(text, strict=False, extra="ignore")
    return adapter.dump_json(found, by_alias=True).decode()


_once = lru_cache(maxsize=1024)(_answered)
_LONGEST_KEPT: Final = 8192
"""Characters of the longest document whose answer is kept: all together at most 16 MiB of text."""
