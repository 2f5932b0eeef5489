"""Keys share a lane fairly; within a key the priority decides, then the age."""

import asyncio

from app.contracts.states import JobState
from app.db.engine import open_database
from app.queue.ledger import Ledger
from tests.integration.ledger.harness import LedgerHarness, user_error


async def test_a_key_with_many_waiting_jobs_delays_another_by_one_job(harness: LedgerHarness) -> None:
    """With a single slot nothing is at work when the next job is claimed: then who was served last waits."""
    dataset = await harness.dataset()
    many = [await harness.job(dataset, key_id="key_many") for _ in range(4)]
    few = [await harness.job(dataset, key_id="key_few") for _ in range(2)]
    claimed = []
    for _ in range(6):
        claim = await harness.claim()
        claimed.append(claim.job_id)
        assert await harness.ledger.fail(claim, user_error())
    assert claimed == [many[0], few[0], many[1], few[1], many[2], many[3]]


async def test_the_key_with_the_fewest_jobs_at_work_goes_first(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    first = [await harness.job(dataset, key_id="key_a") for _ in range(2)]
    claims = [await harness.claim() for _ in first]
    later = await harness.job(dataset, key_id="key_a")
    other = [await harness.job(dataset, key_id="key_b") for _ in range(3)]
    taken = [(await harness.claim()).job_id for _ in range(2)]
    assert taken == other[:2], "key_b was served last, and yet has fewer jobs at work"
    assert await harness.ledger.fail(claims[0], user_error())
    assert (await harness.claim()).job_id == later
    assert (await harness.claim()).job_id == other[2]


async def test_of_one_key_the_highest_priority_goes_first_and_then_the_oldest(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    low, first, second, high = [
        await harness.job(dataset, key_id="key_a", priority=priority) for priority in (-1, 0, 0, 100)
    ]
    other = await harness.job(dataset, key_id="key_b", priority=-100)
    assert [(await harness.claim()).job_id for _ in range(5)] == [high, other, first, second, low]


async def test_inspections_take_turns_too_and_lanes_do_not_count_for_each_other(harness: LedgerHarness) -> None:
    dataset = await harness.dataset()
    for _ in range(2):
        await harness.job(dataset, key_id="key_a")
        await harness.claim("train")
    flood = [await harness.inspection(await harness.model("verifying"), key_id="key_a") for _ in range(3)]
    one = await harness.inspection(await harness.model("verifying"), key_id="key_b")
    own = await harness.inspection(await harness.model("verifying"))
    claimed = [(await harness.claim("inspect")).job_id for _ in range(5)]
    assert claimed == [flood[0], one, own, flood[1], flood[2]]


async def test_a_key_whose_jobs_all_wait_for_inputs_holds_nobody_up(harness: LedgerHarness) -> None:
    waiting = await harness.job(await harness.dataset("verifying"), key_id="key_a")
    ready = [await harness.job(key_id="key_b") for _ in range(2)]
    assert [(await harness.claim()).job_id for _ in ready] == ready
    assert await harness.ledger.claim("owner-1", "train", "cpu") is None
    assert await harness.state(waiting) is JobState.QUEUED


async def test_claims_at_the_same_moment_take_different_jobs_of_one_key(
    harness: LedgerHarness, database_url: str
) -> None:
    dataset = await harness.dataset()
    jobs = [await harness.job(dataset, key_id="key_a") for _ in range(4)]
    others = [open_database(database_url) for _ in jobs]
    claims = await asyncio.gather(*(Ledger(other).claim("owner", "train", "cpu") for other in others))
    for other in others:
        await other.close()
    assert sorted(claim.job_id for claim in claims if claim) == jobs


async def test_a_retry_keeps_the_priority_of_its_job(harness: LedgerHarness) -> None:
    old = await harness.job(priority=7)
    await harness.cancel(old)
    async with harness.database.write() as session:
        row = await harness.ledger.retry(session, old, from_checkpoint=False, key_id=None, threads=1)
    assert row is not None
    assert -(await harness.row(row.id)).queue_rank == 7
