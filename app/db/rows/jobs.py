"""Jobs and the tables that belong to them, written only by `app.queue.ledger`."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Double, Enum, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.contracts.states import JobState
from app.db.base import Base, JsonText, Serial, UtcTime
from app.db.clock import utcnow
from app.db.rows.access import DEFAULT_PROJECT


def _words(states: type[JobState]) -> list[str]:
    return [state.value for state in states]


StateColumn = Enum(JobState, native_enum=False, create_constraint=False, length=16, values_callable=_words)

# The conditions of the partial indexes; `app.queue` spells them the same, so that the indexes are used.
_QUEUED = text("state = 'queued'")
_LEASED = text("state IN ('starting', 'running', 'pausing', 'cancelling')")
_PENDING = text("delivered_at IS NULL")


class JobRow(Base):
    """A job, which is also its queue entry."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queue", "lane", "key_id", "queue_rank", "id", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
        Index("ix_jobs_leases", "lease_owner", sqlite_where=_LEASED, postgresql_where=_LEASED),
        # All that lists of jobs are filtered by: what is left out is not read.
        Index("ix_jobs_listed", "project_id", "id", "state", "kind", "name"),
        Index(None, "key_id", "state", "output_bytes"),
        Index(None, "finished_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    key_id: Mapped[str | None] = mapped_column(String(64), default=None)  # who submitted it
    kind: Mapped[str] = mapped_column(String(16))  # contracts.specs.jobs.JobKind
    lane: Mapped[str] = mapped_column(String(16))  # train | inspect
    # Minus the priority: the index has the order (rank, id) in one direction.
    queue_rank: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    name: Mapped[str | None] = mapped_column(Text, default=None)
    labels: Mapped[dict[str, str]] = mapped_column(JsonText, default=dict)  # as given; filters use job_labels

    spec: Mapped[dict[str, Any]] = mapped_column(JsonText)  # frozen at submission
    resolved_spec: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)  # frozen at the first begin
    threads: Mapped[int | None] = mapped_column(Integer, default=None)
    extra: Mapped[str | None] = mapped_column(String(16), default=None)  # what its worker must have: families.Extra

    state: Mapped[JobState] = mapped_column(StateColumn)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    crashes: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[dict[str, Any] | None] = mapped_column(JsonText, default=None)  # contracts.problems.JobError
    device: Mapped[str | None] = mapped_column(Text, default=None)
    progress: Mapped[dict[str, Any]] = mapped_column(JsonText, default=dict)  # contracts.wire.events.Progress
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0)  # of its newest event

    checkpoint: Mapped[str | None] = mapped_column(Text, default=None)  # directory name of the newest
    checkpoint_sha256: Mapped[str | None] = mapped_column(String(64), default=None)
    checkpoint_step: Mapped[int | None] = mapped_column(BigInteger, default=None)  # the highest step ever kept

    # Ids of older jobs: the retried one, and the one whose checkpoints this starts from. Either may be deleted once
    # this one has ended.
    retry_of: Mapped[str | None] = mapped_column(String(64), default=None)
    checkpoint_from: Mapped[str | None] = mapped_column(String(64), default=None, index=True)

    lease_owner: Mapped[str | None] = mapped_column(String(128), default=None)
    lease_token: Mapped[str | None] = mapped_column(String(36), default=None)
    lease_expires: Mapped[float | None] = mapped_column(Double, default=None)  # on db.clock.lease_clock
    lease_boot: Mapped[str | None] = mapped_column(String(64), default=None)

    student_id: Mapped[str | None] = mapped_column(
        ForeignKey("models.id", ondelete="SET NULL"), default=None, index=True
    )
    outputs: Mapped[list[dict[str, Any]]] = mapped_column(JsonText, default=list)  # [{role, model}]
    output_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")  # of its artifacts
    verdict: Mapped[dict[str, str] | None] = mapped_column(JsonText, default=None)  # of its report: word by task

    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
    started_at: Mapped[datetime | None] = mapped_column(UtcTime, default=None)
    finished_at: Mapped[datetime | None] = mapped_column(UtcTime, default=None)


class LaneTurnRow(Base):
    """When a key was last served in a lane, as a number that grows with every claim. Written by `queue.keys.turns`."""

    __tablename__ = "lane_turns"

    lane: Mapped[str] = mapped_column(String(16), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)  # empty: jobs without a key
    turn: Mapped[int] = mapped_column(BigInteger)


class JobInputRow(Base):
    """What a job needs: a model, a dataset, or another job's student. A job is claimable when all are ready.

    Role `network` marks an inspection that measures what the job trains. Role `subject` marks the resource of an
    inspection, which does not wait for it. The row is deleted with the resource, which `needs.needed_by` prevents while
    the job has not ended.
    """

    __tablename__ = "job_inputs"
    __table_args__ = (
        CheckConstraint(
            "(CASE WHEN model_id IS NULL THEN 0 ELSE 1 END) + (CASE WHEN dataset_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN upstream_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="one_source",
        ),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    role: Mapped[str] = mapped_column(String(16))  # dataset | teacher | network | subject
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), default=None, index=True)
    dataset_id: Mapped[str | None] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), default=None, index=True
    )
    upstream_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), default=None, index=True)


class JobLabelRow(Base):
    """A label of a job, for `GET /v1/jobs?label=`."""

    __tablename__ = "job_labels"
    __table_args__ = (Index(None, "key", "value"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(128))


class EventRow(Base):
    """One event of a job. `seq` is 1, 2, 3 … without gaps, taken under the job row's lock."""

    __tablename__ = "job_events"
    __table_args__ = ({"sqlite_with_rowid": False},)  # one tree instead of two: half the pages to write

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(16))  # contracts.wire.events.JobEvent.type
    data: Mapped[dict[str, Any]] = mapped_column(JsonText)
    time: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)


class MetricRow(Base):
    """One point of one metric series. A step trained again after a crash overwrites its point."""

    __tablename__ = "job_metrics"
    __table_args__ = ({"sqlite_with_rowid": False},)  # one tree instead of two: half the pages to write

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    series: Mapped[str] = mapped_column(String(300), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(Integer)
    value: Mapped[float | None] = mapped_column(Double)
    time: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)


class ArtifactRow(Base):
    """An output file of a finished job: weights, report, predictions … Its blob is kept while this row exists."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(32), primary_key=True)  # contracts.wire.orders.OutputRole
    name: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)


class ReportRow(Base):
    """A finished job's report, in its own table because it is long and rarely read."""

    __tablename__ = "job_reports"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    report: Mapped[dict[str, Any]] = mapped_column(JsonText)  # contracts.reports.report.Report, or a PreflightReport


class OutboxRow(Base):
    """A notification to deliver, written in the transaction of its cause."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_pending", "id", sqlite_where=_PENDING, postgresql_where=_PENDING),
        Index(None, "created_at"),
        Index(None, "subject"),
    )

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), default=DEFAULT_PROJECT)
    topic: Mapped[str] = mapped_column(String(64))  # job.succeeded, model.ready …
    subject: Mapped[str] = mapped_column(String(64))  # id of the job, model or dataset
    payload: Mapped[dict[str, Any]] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(UtcTime, default=utcnow)
    delivered_at: Mapped[datetime | None] = mapped_column(UtcTime, default=None)
