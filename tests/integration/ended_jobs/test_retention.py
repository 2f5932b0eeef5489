"""What ended jobs leave in tables goes after its time, in small transactions; what a client wants of them stays."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from app.db.base import Base
from app.db.clock import utcnow
from app.db.rows import EventRow, JobRow, MetricRow, OutboxRow
from app.system.retention import history
from app.system.retention.policy import collect, find_stale
from tests.integration.api.conftest import opened
from tests.integration.api.harness import REPORT, ApiHarness, safetensors

DAYS = {"events": 365, "metrics": 365, "notifications": 90}


async def succeeded(harness: ApiHarness, spec: dict[str, Any]) -> str:
    job = await harness.submit(spec)
    await harness.work(claim := await harness.begin())
    await harness.succeed(claim, safetensors(b"\1" * 40))
    return str(job["id"])


async def age(harness: ApiHarness, job: str, days: float) -> None:
    async with harness.services.database.write() as session:
        ended = update(JobRow).where(JobRow.id == job)
        await session.execute(ended.values(finished_at=utcnow() - timedelta(days=days)))


async def count(harness: ApiHarness, table: type[Base], **of: str) -> int:
    async with harness.services.database.read() as session:
        return await session.scalar(select(func.count()).select_from(table).filter_by(**of)) or 0


async def old_rows(harness: ApiHarness) -> set[tuple[str, str]]:
    return {(item.kind, item.name) for item in await find_stale(harness.services) if item.kind in DAYS}


async def test_history_goes_after_its_time_and_report_and_student_stay(
    harness: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BATCH", 2)
    monkeypatch.setattr(history, "_JOBS", 1)
    spec = await harness.train_spec()
    old, older, recent = [await succeeded(harness, spec) for _ in range(3)]
    for job, days in ((old, 366.0), (older, 1000.0), (recent, 364.0)):
        await age(harness, job, days)
    kept = [await count(harness, table, job_id=recent) for table in (EventRow, MetricRow)]
    assert min(kept) > 2, "more than one transaction's rows"
    await collect(harness.services)
    for job in (old, older):
        assert [await count(harness, table, job_id=job) for table in (EventRow, MetricRow)] == [0, 0]
        assert (await harness.get(f"/v1/jobs/{job}/report")) == REPORT
        assert (await harness.http.get(f"/v1/jobs/{job}/student/weights")).status_code == 200
        assert (await harness.get(f"/v1/jobs/{job}/events"))["data"] == []
        for last in ({}, {"Last-Event-ID": "1"}):  # 204 tells an EventSource not to come back
            stream = {"Accept": "text/event-stream", **last}
            assert (await harness.http.get(f"/v1/jobs/{job}/events", headers=stream)).status_code == 204
        assert (await harness.get(f"/v1/jobs/{job}/metrics"))["series"] == {}
    assert [await count(harness, table, job_id=recent) for table in (EventRow, MetricRow)] == kept
    assert await old_rows(harness) == set()


async def test_a_job_that_has_not_ended_keeps_its_history_however_old_it_is(harness: ApiHarness) -> None:
    job = (await harness.submit())["id"]
    await harness.work(await harness.begin())
    async with harness.services.database.write() as session:
        long_ago = utcnow() - timedelta(days=5000)
        await session.execute(update(JobRow).values(created_at=long_ago, started_at=long_ago))
    await collect(harness.services)
    assert await count(harness, MetricRow, job_id=job) == 6


async def test_notifications_go_after_their_time(harness: ApiHarness) -> None:
    async with harness.services.database.write() as session:
        rows = [
            {"topic": "t", "subject": "s", "payload": {}, "created_at": utcnow() - timedelta(days=days)}
            for days in (91, 91, 1000, 89)
        ]
        await session.execute(insert(OutboxRow), rows)
    assert await old_rows(harness) == {("notifications", "3 older than 90 days")}
    await collect(harness.services)
    assert await count(harness, OutboxRow) == 1
    assert await old_rows(harness) == set()


async def test_a_dry_run_lists_what_would_go_and_deletes_nothing(harness: ApiHarness) -> None:
    job = await succeeded(harness, await harness.train_spec())
    await age(harness, job, 400.0)
    expected = {("events", job), ("metrics", job)}
    assert await old_rows(harness) == expected
    assert await old_rows(harness) == expected


async def test_the_days_are_settings(migrated_sqlite_url: str, tmp_path: Path) -> None:
    async with opened(migrated_sqlite_url, tmp_path / "data", metrics_kept_days=10, events_kept_days=30) as harness:
        job = await succeeded(harness, await harness.train_spec())
        await age(harness, job, 20.0)
        assert await old_rows(harness) == {("metrics", job)}
