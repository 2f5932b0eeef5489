"""Claims under real concurrency: several processes, zombies with old tokens, sweeps, restarts of the host."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.contracts.states import IllegalTransition, JobState
from app.contracts.wire.events import PhaseEvent, ProgressEvent
from app.contracts.wire.orders import InspectionOutcome
from app.db.engine import Database, open_database
from app.db.rows import JobRow, ModelRow, OutboxRow
from app.queue.ledger import Ledger
from app.queue.records import Claim
from tests.integration.ledger.harness import LedgerHarness, checkpoint, crash, user_error

ROOT = Path(__file__).resolve().parents[3]
CLAIMER = Path(__file__).with_name("claimer.py")


async def test_several_processes_claim_every_job_exactly_once(harness: LedgerHarness, database_url: str) -> None:
    dataset = await harness.dataset()
    jobs = [await harness.job(dataset) for _ in range(24)]
    command = [sys.executable, str(CLAIMER), database_url, *(f"owner-{i}" for i in range(3))]
    workers = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=ROOT, env={"PYTHONPATH": "."})
    printed = (await workers.communicate())[0].decode()
    assert workers.returncode == 0
    assert Counter(printed.split()) == Counter([*jobs, *["1"] * len(jobs)])
    for job in jobs:
        row, events = await harness.row(job), await harness.events(job)
        assert row.state is JobState.SUCCEEDED
        assert [event.seq for event in events] == list(range(1, row.last_seq + 1))


async def test_the_oldest_job_is_claimed_first(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    jobs = [await harness.job(dataset) for _ in range(5)]
    assert [(await harness.claim()).job_id for _ in jobs] == jobs
    assert await harness.ledger.claim("owner-1", "train", "cpu") is None


async def test_long_trainings_never_block_an_inspection(harness: LedgerHarness) -> None:
    await harness.job()
    inspection = await harness.inspection(model=await harness.model("verifying"))
    assert (await harness.claim("inspect")).job_id == inspection
    assert await harness.ledger.claim("owner-1", "inspect", "cpu") is None
    assert (await harness.claim("train")).kind == "train"


async def everything_a_worker_can_write(harness: LedgerHarness, claim: Claim) -> list[object]:
    ledger = harness.ledger
    return [
        await ledger.renew([claim]),
        await ledger.held([claim]),
        await ledger.begin(claim, {}),
        await ledger.record(claim, [PhaseEvent(phase="training"), checkpoint(99)]),
        await ledger.succeed(claim, await harness.publication("zombie")),
        await ledger.finish_inspection(claim, InspectionOutcome()),
        await ledger.fail(claim, user_error()),
        await ledger.lose(claim, crash()),
        await ledger.drain(claim),
        await ledger.yield_(claim),
    ]


async def test_a_zombie_with_an_old_token_changes_nothing(harness: LedgerHarness) -> None:
    job = await harness.job()
    zombie = await harness.running(owner="stopped")
    assert await harness.ledger.lose_owner("stopped") == 1
    successor = await harness.running(owner="successor")
    before, seen = await harness.row(job), await harness.events(job)
    assert await everything_a_worker_can_write(harness, zombie) == [{}, {}] + [False] * 8
    after = await harness.row(job)
    assert (after.state, after.last_seq, after.lease_token) == (before.state, before.last_seq, successor.token)
    assert len(await harness.events(job)) == len(seen)
    assert await harness.ledger.succeed(successor, await harness.publication())
    assert await everything_a_worker_can_write(harness, zombie) == [{}, {}] + [False] * 8
    assert await harness.state(job) is JobState.SUCCEEDED
    async with harness.database.read() as session:
        students = (await session.scalars(select(ModelRow.id).where(ModelRow.source_job_id == job))).all()
    assert len(students) == 1


async def test_only_expired_leases_are_swept(harness: LedgerHarness) -> None:
    fresh, late = await harness.job(), await harness.job()
    held = await harness.running()
    lapsed = await Ledger(harness.database, lease_seconds=-1.0).claim("late", "train", "cpu")
    assert lapsed is not None
    assert lapsed.job_id == late
    assert await harness.ledger.sweep() == 1
    assert await harness.ledger.sweep() == 0
    assert await harness.state(late) is JobState.QUEUED
    assert (await harness.row(late)).crashes == 1
    assert await harness.state(fresh) is JobState.RUNNING
    assert await harness.ledger.renew([held, lapsed]) == {fresh: JobState.RUNNING}


async def test_a_renewed_lease_is_not_swept(harness: LedgerHarness) -> None:
    await harness.job()
    claim = await Ledger(harness.database, lease_seconds=-1.0).claim("owner-1", "train", "cpu")
    assert claim is not None
    assert await harness.ledger.renew([claim]) == {claim.job_id: JobState.STARTING}
    assert await harness.ledger.sweep() == 0


async def test_a_lease_lost_while_cancelling_or_pausing_does_what_the_user_asked(harness: LedgerHarness) -> None:
    ledger = Ledger(harness.database, lease_seconds=-1.0)
    cancelled, paused = await harness.job(), await harness.job()
    for _ in (cancelled, paused):
        assert await ledger.claim("late", "train", "cpu")
    await harness.cancel(cancelled)
    await harness.pause(paused)
    assert await ledger.sweep() == 2
    assert await harness.state(cancelled) is JobState.CANCELLED
    assert await harness.state(paused) is JobState.PAUSED


async def test_concurrent_sweeps_count_one_crash(harness: LedgerHarness, database_url: str) -> None:
    job = await harness.job()
    assert await Ledger(harness.database, lease_seconds=-1.0).claim("late", "train", "cpu")
    others = [open_database(database_url) for _ in range(4)]
    swept = await asyncio.gather(*(Ledger(other).sweep() for other in others))
    for other in others:
        await other.close()
    row = await harness.row(job)
    assert (sum(swept), row.state, row.crashes) == (1, JobState.QUEUED, 1)


async def test_a_dead_owner_loses_its_jobs_at_once_and_nobody_elses(harness: LedgerHarness) -> None:
    dead, alive = await harness.job(), await harness.job()
    await harness.claim(owner="dead")
    await harness.claim(owner="alive")
    assert await harness.ledger.owners() == ["alive", "dead"]
    assert await harness.ledger.lose_owner("dead") == 1
    assert await harness.ledger.owners() == ["alive"]
    assert await harness.state(dead) is JobState.QUEUED
    assert await harness.state(alive) is JobState.STARTING


async def test_a_lease_of_another_boot_has_expired(migrated_sqlite_url: str) -> None:
    """On SQLite the clock starts anew at each boot: a number from before it says nothing."""
    database = open_database(migrated_sqlite_url)
    harness = LedgerHarness(database, Ledger(database))
    job = await harness.job()
    await harness.running()
    assert await harness.ledger.sweep() == 0
    async with database.write() as session:
        await session.execute(update(JobRow).values(lease_boot="b34a-another-boot"))
    assert await harness.ledger.sweep() == 1
    assert await harness.state(job) is JobState.QUEUED
    await database.close()


async def test_events_are_gap_free_while_worker_user_and_sweeper_write_at_once(
    harness: LedgerHarness, database_url: str
) -> None:
    dataset = await harness.dataset()
    job = await harness.job(dataset)
    mine, theirs = open_database(database_url), open_database(database_url)
    await asyncio.gather(
        attempts(LedgerHarness(mine, Ledger(mine)), job),
        taps(LedgerHarness(theirs, Ledger(theirs)), job),
        sweeps(harness, job),
    )
    for database in (mine, theirs):
        await database.close()
    row, events = await harness.row(job), await harness.events(job)
    assert row.state is JobState.CANCELLED
    assert [event.seq for event in events] == list(range(1, row.last_seq + 1))
    assert sum(event.data.get("state") == "cancelled" for event in events) == 1


async def attempts(harness: LedgerHarness, job: str) -> None:
    """A worker that claims and reports, and stops on request, until the job has ended."""
    while await harness.state(job) is not JobState.CANCELLED:
        claim = await harness.ledger.claim("worker", "train", "cpu")
        if claim is None:
            await asyncio.sleep(0.005)
            continue
        for step in range(5):
            await harness.ledger.record(claim, [ProgressEvent(step=step), checkpoint(claim.attempt * 10 + step)])
        try:
            await harness.ledger.yield_(claim)
        except IllegalTransition:  # no stop was requested
            await harness.ledger.drain(claim)


async def taps(harness: LedgerHarness, job: str) -> None:
    """A user who pauses and resumes, and at last cancels."""
    for action in [harness.pause, harness.resume] * 5:
        while True:
            try:
                await action(job)
                break
            except IllegalTransition:
                await asyncio.sleep(0.005)
    await harness.cancel(job)


async def sweeps(harness: LedgerHarness, job: str) -> None:
    while await harness.state(job) is not JobState.CANCELLED:
        await harness.ledger.sweep()
        await asyncio.sleep(0.01)


async def test_every_end_stands_in_the_outbox_once(harness: LedgerHarness) -> None:
    ended = await harness.job()
    claim = await harness.running()
    publication = await harness.publication()
    assert await harness.ledger.succeed(claim, publication)
    assert await harness.ledger.succeed(claim, publication)  # the answer of the first commit was lost
    async with harness.database.read() as session:
        topics = (await session.scalars(select(OutboxRow.topic).order_by(OutboxRow.id))).all()
    assert topics == ["model.ready", "job.succeeded"]
    assert (await harness.row(ended)).student_id is not None


@pytest.mark.parametrize("lane", ["train", "inspect"])
async def test_an_empty_queue_has_nothing_to_claim(database: Database, lane: str) -> None:
    assert await Ledger(database).claim("owner-1", "train" if lane == "train" else "inspect", "cpu") is None


async def test_of_success_and_cancel_at_once_exactly_one_wins(harness: LedgerHarness, database_url: str) -> None:
    other = open_database(database_url)
    dataset = await harness.dataset()
    publication = await harness.publication()
    for _ in range(8):
        job = await harness.job(dataset)
        claim = await harness.running()
        user = LedgerHarness(other, Ledger(other))
        cancelled, succeeded = await asyncio.gather(
            user.cancel(job), harness.ledger.succeed(claim, publication), return_exceptions=True
        )
        assert isinstance(cancelled, IllegalTransition) == succeeded
        assert await harness.state(job) is (JobState.SUCCEEDED if succeeded else JobState.CANCELLED)
        assert ((await harness.row(job)).student_id is not None) == succeeded
    await other.close()
