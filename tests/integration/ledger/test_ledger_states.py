"""The ledger moves jobs exactly as the table of contracts.states says, in every state, on both databases."""

import itertools
from collections.abc import Awaitable, Callable

import pytest

from app.contracts.states import LEASED, TERMINAL, TRANSITIONS, IllegalTransition, JobState, Trigger
from app.queue.records import Claim
from tests.integration.ledger.harness import LedgerHarness, checkpoint, crash, user_error


async def bring(harness: LedgerHarness, state: JobState) -> tuple[str, Claim | None]:
    """A job in this state, and the claim of the worker that has it or had it last."""
    job = await harness.job()
    if state is JobState.QUEUED:
        return job, None
    if state is JobState.PAUSED:
        await harness.pause(job)
        return job, None
    claim = await harness.claim()
    assert claim.job_id == job
    if state is not JobState.STARTING:
        assert await harness.ledger.begin(claim, {})
    match state:
        case JobState.PAUSING:
            await harness.pause(job)
        case JobState.CANCELLING:
            await harness.cancel(job)
        case JobState.SUCCEEDED:
            assert await harness.ledger.succeed(claim, await harness.publication())
        case JobState.FAILED:
            assert await harness.ledger.fail(claim, user_error())
        case JobState.CANCELLED:
            await harness.cancel(job)
            assert await harness.ledger.yield_(claim)
    return job, claim


async def pull(harness: LedgerHarness, job: str, claim: Claim | None, trigger: Trigger) -> None:
    """Do what the trigger stands for, as its caller does it."""
    ledger = harness.ledger
    by_user: dict[Trigger, Callable[[str], Awaitable[object]]] = {
        Trigger.CANCEL: harness.cancel,
        Trigger.PAUSE: harness.pause,
        Trigger.RESUME: harness.resume,
    }
    if trigger in by_user:
        await by_user[trigger](job)
    elif trigger is Trigger.CLAIM:
        await ledger.claim("owner-2", "train", "cpu")
    elif claim is not None:
        by_worker: dict[Trigger, Callable[[], Awaitable[bool]]] = {
            Trigger.BEGIN: lambda: ledger.begin(claim, {}),
            Trigger.SUCCEED: lambda: succeed(harness, claim),
            Trigger.FAIL: lambda: ledger.fail(claim, user_error()),
            Trigger.YIELD: lambda: ledger.yield_(claim),
            Trigger.LOSE: lambda: ledger.lose(claim, crash()),
            Trigger.DRAIN: lambda: ledger.drain(claim),
        }
        await by_worker[trigger]()


async def succeed(harness: LedgerHarness, claim: Claim) -> bool:
    return await harness.ledger.succeed(claim, await harness.publication())


@pytest.mark.parametrize("state", list(JobState))
async def test_every_trigger_moves_a_job_as_the_table_says_or_not_at_all(
    harness: LedgerHarness, state: JobState
) -> None:
    for trigger in Trigger:
        job, claim = await bring(harness, state)
        try:
            await pull(harness, job, claim, trigger)
        except IllegalTransition:
            assert (state, trigger) not in TRANSITIONS
        expected = TRANSITIONS.get((state, trigger), state)
        if claim is None and trigger is Trigger.FAIL:
            expected = state  # not leased: only the end of something it waits for fails it (test_ledger_inputs)
        if (state, trigger) == (JobState.CANCELLING, Trigger.SUCCEED):
            expected = JobState.CANCELLED  # refused, and ended as what it was asked to be
        assert await harness.state(job) is expected, (state, trigger)
        await end_job(harness, job)


async def end_job(harness: LedgerHarness, job: str) -> None:
    """No queued job may be left for the next claim."""
    if await harness.state(job) not in TERMINAL and await harness.state(job) is not JobState.CANCELLING:
        await harness.cancel(job)


@pytest.mark.parametrize("state", sorted(LEASED))
async def test_the_lease_ends_with_the_leased_states(harness: LedgerHarness, state: JobState) -> None:
    for trigger in (Trigger.LOSE, Trigger.DRAIN, Trigger.FAIL):
        job, claim = await bring(harness, state)
        held = await harness.row(job)
        assert held.lease_owner == "owner-1"
        assert held.lease_expires is not None
        await pull(harness, job, claim, trigger)
        row = await harness.row(job)
        assert (row.lease_owner, row.lease_expires, row.lease_boot) == (None, None, None)
        await end_job(harness, job)


async def test_each_claim_raises_the_attempt_and_gives_a_fresh_token(harness: LedgerHarness) -> None:
    job = await harness.job()
    tokens = set()
    for attempt in itertools.islice(itertools.count(1), 5):
        claim = await harness.running()
        assert (claim.job_id, claim.attempt) == (job, attempt)
        tokens.add(claim.token)
        assert await harness.ledger.drain(claim)
    assert len(tokens) == 5
    assert (await harness.row(job)).crashes == 0


async def test_the_first_resolved_spec_is_the_one_that_every_attempt_trains(harness: LedgerHarness) -> None:
    await harness.job()
    first = await harness.claim()
    assert first.resolved_spec is None
    assert await harness.ledger.begin(first, {"threads": 2, "b": 1, "a": 0})
    assert await harness.ledger.drain(first)
    second = await harness.claim()
    assert second.resolved_spec == '{"threads":2,"b":1,"a":0}'  # the order of keys is kept
    assert await harness.ledger.begin(second, {"threads": 64})
    assert (await harness.row(second.job_id)).resolved_spec == {"threads": 2, "b": 1, "a": 0}


async def test_three_crashes_without_a_new_checkpoint_fail_the_job(harness: LedgerHarness) -> None:
    job = await harness.job()
    for crashes in (1, 2):
        assert await harness.ledger.lose(await harness.running(), crash())
        row = await harness.row(job)
        assert (row.state, row.crashes) == (JobState.QUEUED, crashes)
    assert await harness.ledger.lose(await harness.running(), crash("SIGSEGV: the child was killed by signal 11"))
    row = await harness.row(job)
    assert row.state is JobState.FAILED
    assert row.error is not None
    assert (row.error["code"], row.error["class"]) == ("crashed", "infrastructure")
    assert "SIGSEGV: the child was killed by signal 11" in row.error["message"]


async def test_a_new_checkpoint_forgives_the_crashes_before_it(harness: LedgerHarness) -> None:
    job = await harness.job()
    for step in (10, 20, 30, 40):
        claim = await harness.running()
        assert await harness.ledger.record(claim, [checkpoint(step, claim.attempt)])
        assert await harness.ledger.lose(claim, crash())
    row = await harness.row(job)
    assert (row.state, row.crashes, row.checkpoint) == (JobState.QUEUED, 1, "step-00000040-a4")


async def test_a_checkpoint_at_a_step_reached_before_forgives_nothing(harness: LedgerHarness) -> None:
    """A child that saves the same step again and dies makes no progress."""
    job = await harness.job()
    first = await harness.running()
    assert await harness.ledger.record(first, [checkpoint(10)])
    for _ in range(3):
        assert await harness.ledger.lose(first, crash())
        if await harness.state(job) is JobState.FAILED:
            break
        first = await harness.running()
        assert await harness.ledger.record(first, [checkpoint(10, first.attempt)])
    row = await harness.row(job)
    assert (row.state, row.crashes, row.attempt) == (JobState.FAILED, 3, 3)


async def test_drains_are_no_crashes(harness: LedgerHarness) -> None:
    job = await harness.job()
    for _ in range(5):
        assert await harness.ledger.drain(await harness.running())
    row = await harness.row(job)
    assert (row.state, row.crashes, row.attempt) == (JobState.QUEUED, 0, 5)


async def test_a_job_cancelled_before_it_finishes_leaves_no_student(harness: LedgerHarness) -> None:
    job = await harness.job()
    claim = await harness.running()
    assert await harness.cancel(job) is JobState.CANCELLING
    assert not await harness.ledger.succeed(claim, await harness.publication())
    row = await harness.row(job)
    assert (row.state, row.student_id, row.outputs) == (JobState.CANCELLED, None, [])


async def test_a_user_action_on_a_job_that_is_not_there_is_none(harness: LedgerHarness) -> None:
    async with harness.database.write() as session:
        assert await harness.ledger.cancel(session, "job_none") is None
