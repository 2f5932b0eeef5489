"""The rows of a new job, and the statements that insert them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

from sqlalchemy import Select, Table, Text, TypeDecorator, bindparam, select
from sqlalchemy.types import TypeEngine

from app.contracts.specs.jobs import AnyJob, InspectJob, InternalJob, Reference
from app.contracts.states import JobState
from app.db.base import Base, JsonText, json_text
from app.db.clock import utcnow
from app.db.ids import new_id
from app.db.reads.pipeline import Call
from app.db.reads.query import Statement, Value
from app.db.rows import EventRow, JobInputRow, JobLabelRow, JobRow
from app.queue.records import NewJob

_SEQ: Final = 1
"""Number of the first event."""


@dataclass(frozen=True)
class NewRows:
    """A new job: the columns of its row that are set at its submission (documents as JSON texts), and of its inputs."""

    job: Mapping[str, Value]
    inputs: Sequence[Mapping[str, str | None]]
    labels: Mapping[str, str]
    created_at: datetime

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.job["id"])

    def proof(self) -> Select[Any]:
        """Finds a row if, and only if, this job was inserted."""
        mine = (EventRow.job_id == self.id, EventRow.seq == _SEQ, EventRow.time == self.created_at)
        return select(EventRow.seq).where(*mine)


def new_rows(job: NewJob) -> NewRows:
    """The rows of this job, with a new id."""
    spec, now = job.spec, utcnow()
    labels = {} if isinstance(spec, InspectJob) else spec.labels
    row: dict[str, Value] = {
        "id": new_id("job"),
        "project_id": job.project_id,
        "key_id": job.key_id,
        "kind": spec.kind,
        "lane": "inspect" if isinstance(spec, InternalJob) else "train",
        "queue_rank": -job.priority,
        "name": None if isinstance(spec, InspectJob) else spec.name,
        "labels": json_text(labels),
        "spec": job.spec_text or json_text(spec.model_dump(mode="json")),
        "resolved_spec": None if job.resolved_spec is None else json_text(job.resolved_spec),
        "threads": job.threads,
        "state": JobState.QUEUED,
        "attempt": 0,
        "crashes": 0,
        "progress": "{}",
        "last_seq": _SEQ,
        "retry_of": job.retry_of,
        "checkpoint_from": job.checkpoint_from,
        "outputs": "[]",
        "output_bytes": 0,
        "created_at": now,
    }
    return NewRows(row, inputs_of_spec(spec), labels, now)


def inserts(new: NewRows) -> list[Call]:
    """The statements that insert it with its first event."""
    job_id = new.id
    data = json_text({"state": JobState.QUEUED.value, "attempt": 0})
    event: dict[str, Value] = {"job_id": job_id, "seq": _SEQ, "type": "state", "data": data, "time": new.created_at}
    return [
        (_JOB, _bound(new.job)),
        *((_INPUT, _bound({"job_id": job_id, **entry})) for entry in new.inputs),
        *((_LABEL, _bound({"job_id": job_id, "key": key, "value": value})) for key, value in new.labels.items()),
        (_EVENT, _bound(event)),
    ]


def _insert(row: type[Base], *names: str) -> Statement:
    """An INSERT of these columns. Documents are given as the texts that are stored."""
    table = row.__table__
    assert isinstance(table, Table)
    return Statement(
        table.insert().values({name: bindparam(f"new_{name}", type_=_type(table, name)) for name in names})
    )


def _type(table: Table, name: str) -> TypeEngine[Any]:
    declared: TypeEngine[Any] = table.columns[name].type
    return Text() if isinstance(declared, TypeDecorator) and isinstance(declared, JsonText) else declared


def _bound(values: Mapping[str, Value]) -> dict[str, Value]:
    return {f"new_{name}": value for name, value in values.items()}


_JOB: Final = _insert(
    JobRow,
    *("id", "project_id", "key_id", "kind", "lane", "queue_rank", "name", "labels", "spec", "resolved_spec", "threads"),
    *("state", "attempt", "crashes", "progress", "last_seq", "retry_of", "checkpoint_from", "outputs", "output_bytes"),
    "created_at",
)
_INPUT: Final = _insert(JobInputRow, "job_id", "role", "model_id", "dataset_id", "upstream_id")
_LABEL: Final = _insert(JobLabelRow, "job_id", "key", "value")
_EVENT: Final = _insert(EventRow, "job_id", "seq", "type", "data", "time")


def inputs_of_spec(spec: AnyJob) -> list[dict[str, str | None]]:
    """The rows of job_inputs for a spec, without the job's id; each input once. A preflight has those of its job."""
    if isinstance(spec, InspectJob):
        if spec.network is not None:
            return []
        subject = _entry("subject", model_id=spec.model, dataset_id=spec.dataset)
        return [subject] if spec.of is None else [subject, _entry("dataset", dataset_id=spec.of)]
    entries = [_input(ref) for ref in spec.references()]
    return [entry for i, entry in enumerate(entries) if entry not in entries[:i]]


def _input(ref: Reference) -> dict[str, str | None]:
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
) -> dict[str, str | None]:
    return {"role": role, "model_id": model_id, "dataset_id": dataset_id, "upstream_id": upstream_id}
