"""Jobs as JSON from their stored texts: equal to their schema, whichever version wrote the row."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from app.contracts.states import JobState
from app.db.reads import sqlite
from app.db.rows import JobRow
from app.jobs import repository
from app.jobs.schemas import Job, job_json
from tests.integration.api.harness import ApiHarness

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CHANGES: dict[str, Callable[[JobRow], dict[str, Any]]] = {
    "as submitted": lambda row: {"device": None},
    "of another version": lambda row: {
        "spec": {name: value for name, value in row.spec.items() if name != "exports"} | {"new": 1},
        "progress": {"step": 3, "new": 1},
    },
    "failed": lambda row: {
        "state": JobState.FAILED,
        "name": 'a "name" of \u20ac\n',
        "error": {"code": "crashed", "class": "infrastructure", "message": "it ended"},
        "checkpoint": "step-3",
        "checkpoint_step": 3,
        "checkpoint_sha256": "0" * 64,
        "labels": {"team": "vision"},
        "started_at": WHEN,
        "finished_at": WHEN.replace(microsecond=120_000),
    },
    "resolved": lambda row: {
        "state": JobState.SUCCEEDED,
        "resolved_spec": row.spec | {"name": "resolved"},
        "outputs": [{"role": "student", "model": "mdl_x"}],
        "device": "cpu",
        "checkpoint": "step-3",
    },
}


def _expected(row: JobRow) -> dict[str, Any]:
    """By the schema, field by field."""
    kept = row.checkpoint is not None and row.state is not JobState.SUCCEEDED
    document = {name: getattr(row, name) for name in Job.model_fields if hasattr(row, name)} | {
        "spec": row.resolved_spec or row.spec,
        "student": row.student_id,
        "checkpoint": {"name": row.checkpoint, "step": row.checkpoint_step, "sha256": row.checkpoint_sha256}
        if kept
        else None,
    }
    document["priority"] = -row.queue_rank
    view = Job.model_validate(document, strict=False, extra="ignore")
    return dict(json.loads(view.model_dump_json(by_alias=True)))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_job_is_answered_as_its_schema_has_it(
    any_harness: ApiHarness, change: Callable[[JobRow], dict[str, Any]]
) -> None:
    job = (await any_harness.submit())["id"]
    async with any_harness.services.database.write() as session:
        row = await session.get_one(JobRow, job)
        await session.execute(update(JobRow).where(JobRow.id == job).values(change(row)))
        await session.refresh(row)
    answered = (await any_harness.http.get(f"/v1/jobs/{job}")).json()
    assert answered == _expected(row)
    assert list(answered) == list(Job.model_fields)
    assert (await any_harness.get("/v1/jobs"))["data"] == [answered]
    assert json.loads(job_json(repository.stored(row))) == answered


async def test_a_read_that_is_not_short_is_made_in_a_thread(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement of more steps than may run in the event loop has the same rows."""
    spec = await harness.train_spec()
    for _ in range(3):
        await harness.submit(spec)
    whole = await harness.get("/v1/jobs")
    reads = sqlite.SqliteReads(harness.services.database._readers.url)
    monkeypatch.setattr(harness.services.database, "_reads", reads)
    monkeypatch.setattr(sqlite, "SHORT_STEPS", 5)
    assert await harness.get("/v1/jobs") == whole
    assert [thread.name for thread in reads._threads._threads]
    await reads.close()
