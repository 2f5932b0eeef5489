"""Writing the events of a child, in batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.wire.events import (
    CheckpointEvent,
    MetricPoint,
    MetricsEvent,
    PhaseEvent,
    Progress,
    ProgressEvent,
    WarningEvent,
)
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.rows import EventRow, JobRow, MetricRow
from app.db.signals import announce
from app.db.writes import insert_all, upsert
from app.queue.records import Claim
from app.queue.transitions import set_event_as_commit_check

_LEASED = text("jobs.state IN ('starting', 'running', 'pausing', 'cancelling')")
_ROWS_PER_STATEMENT = 100  # 6 columns each: well below SQLite's limit on parameters, and one statement to compile

Event = PhaseEvent | ProgressEvent | MetricsEvent | CheckpointEvent | WarningEvent


async def record(database: Database, claim: Claim, events: Sequence[Event]) -> bool:
    """Write a batch of events under the row's lock."""
    async with database.write(short=True) as session:
        query = select(JobRow.last_seq, JobRow.progress, JobRow.checkpoint_step, JobRow.crashes).where(
            _LEASED, JobRow.id == claim.job_id, JobRow.lease_token == claim.token
        )
        job = (await session.execute(query.with_for_update())).one_or_none()
        if job is None:
            return False
        batch = _Batch(Progress.model_validate(job.progress), job.checkpoint_step, job.crashes)
        for event in events:
            batch.add(event)
        changes = batch.changes() | {"last_seq": job.last_seq + len(batch.rows)}
        await session.execute(update(JobRow).where(JobRow.id == claim.job_id).values(changes))
        rows = [{"job_id": claim.job_id, "seq": seq, **row} for seq, row in enumerate(batch.rows, job.last_seq + 1)]
        await insert_all(session, EventRow, rows)
        if rows:  # metric points alone can be written twice
            set_event_as_commit_check(session, claim.job_id, rows[-1]["seq"], rows[-1]["time"])
        await _write_points(session, claim.job_id, batch.points.values())
        announce(session, claim.job_id)
        return True


@dataclass
class _Batch:
    """Converts a batch of events into rows."""

    progress: Progress
    checkpoint_step: int | None
    crashes: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    points: dict[tuple[str, int], MetricPoint] = field(default_factory=dict)
    checkpoint: CheckpointEvent | None = None

    def add(self, event: Event) -> None:
        """Add one event. Consecutive progress events give one row."""
        match event:
            case MetricsEvent(points=points):
                self.points |= {(point.series, point.step): point for point in points}
            case ProgressEvent():
                phase = event.phase or self.progress.phase
                self.progress = Progress(**{**event.model_dump(exclude={"type"}), "phase": phase})
                if self.rows and self.rows[-1]["type"] == "progress":
                    self.rows.pop()
                self._add_row("progress", self.progress.model_dump(mode="json"))
            case PhaseEvent(phase=phase):
                self.progress = self.progress.model_copy(update={"phase": phase})
                self._add_row("phase", {"phase": phase})
            case WarningEvent(code=code, message=message):
                self._add_row("warning", {"code": code, "message": message})
            case CheckpointEvent():
                self._add_checkpoint(event)
            case _:
                assert_never(event)

    def _add_checkpoint(self, event: CheckpointEvent) -> None:
        self.checkpoint = event
        if self.checkpoint_step is None or event.step > self.checkpoint_step:
            self.checkpoint_step, self.crashes = event.step, 0
        self._add_row("checkpoint", {"step": event.step, "name": event.name, "sha256": event.sha256})

    def _add_row(self, kind: Literal["phase", "progress", "checkpoint", "warning"], data: dict[str, Any]) -> None:
        self.rows.append({"type": kind, "data": data, "time": utcnow()})

    def changes(self) -> dict[str, Any]:
        """The columns of the job that the batch changes."""
        values: dict[str, Any] = {"progress": self.progress.model_dump(mode="json")}
        if self.checkpoint is not None:
            values |= {
                "checkpoint": self.checkpoint.name,
                "checkpoint_sha256": self.checkpoint.sha256,
                "checkpoint_step": self.checkpoint_step,
                "crashes": self.crashes,
            }
        return values


async def _write_points(session: AsyncSession, job_id: str, points: Iterable[MetricPoint]) -> None:
    """Insert points, or overwrite those of an earlier attempt at the same step."""
    now = utcnow()
    rows = [
        {
            "job_id": job_id,
            "series": point.series,
            "step": point.step,
            "epoch": point.epoch,
            "value": point.value,
            "time": now,
        }
        for point in points
    ]
    for chunk in _chunks(rows):
        statement = upsert(session, MetricRow)
        newer = {name: statement.excluded[name] for name in ("epoch", "value", "time")}
        key = [MetricRow.job_id, MetricRow.series, MetricRow.step]
        await session.execute(statement.on_conflict_do_update(index_elements=key, set_=newer), chunk)


def _chunks(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        yield rows[start : start + _ROWS_PER_STATEMENT]
