"""A retry is a new job of the same spec; what it starts from is kept for it."""

from datetime import timedelta

import pytest

from app.contracts.states import JobState
from app.db.rows import JobRow
from app.queue.records import NotRetryable
from tests.integration.ledger.harness import LedgerHarness, checkpoint, user_error

LONG, AT_ONCE = timedelta(hours=1), timedelta(seconds=-1)


async def cancelled(harness: LedgerHarness, *steps: int) -> str:
    """A job that was cancelled after checkpoints at these steps."""
    job = await harness.job()
    claim = await harness.running()
    for step in steps:
        assert await harness.ledger.record(claim, [checkpoint(step)])
    await harness.cancel(job)
    assert await harness.ledger.yield_(claim)
    return job


async def retry(harness: LedgerHarness, job_id: str, *, from_checkpoint: bool = True) -> JobRow:
    async with harness.database.write() as session:
        row = await harness.ledger.retry(session, job_id, from_checkpoint=from_checkpoint, key_id="key_2", threads=7)
        assert row is not None
        return row


async def test_a_retry_is_a_new_job_of_the_same_spec(harness: LedgerHarness) -> None:
    old = await harness.row(await cancelled(harness, 10))
    new = await retry(harness, old.id, from_checkpoint=False)
    assert new.id != old.id
    assert (new.state, new.attempt, new.spec) == (JobState.QUEUED, 0, old.spec)
    assert (new.retry_of, new.checkpoint_from, new.resolved_spec) == (old.id, None, None)
    assert (new.threads, new.key_id) == (7, "key_2")
    claim = await harness.claim()
    assert (claim.job_id, claim.checkpoint_from) == (new.id, None)


async def test_from_a_checkpoint_it_keeps_what_was_frozen_with_it(harness: LedgerHarness) -> None:
    old = await harness.row(await cancelled(harness, 10, 20))
    new = await retry(harness, old.id)
    assert (new.checkpoint_from, new.resolved_spec, new.threads) == (old.id, {"resolved": True}, 1)
    claim = await harness.claim()
    assert claim.checkpoint_from == old.id
    assert claim.resolved_spec == '{"resolved":true}'


async def test_a_retry_that_never_began_passes_its_own_source_on(harness: LedgerHarness) -> None:
    old = await cancelled(harness, 10)
    second = await retry(harness, old)
    await harness.cancel(second.id)
    third = await retry(harness, second.id)
    assert (third.retry_of, third.checkpoint_from) == (second.id, old)


@pytest.mark.parametrize("from_checkpoint", [False, True])
async def test_a_job_that_has_not_ended_is_not_retried(harness: LedgerHarness, from_checkpoint: bool) -> None:
    job = await harness.job()
    with pytest.raises(NotRetryable) as refused:
        await retry(harness, job, from_checkpoint=from_checkpoint)
    assert refused.value.code == "not_finished"


async def test_a_success_is_not_retried(harness: LedgerHarness) -> None:
    job = await harness.job()
    assert await harness.ledger.succeed(await harness.running(), await harness.publication())
    with pytest.raises(NotRetryable) as refused:
        await retry(harness, job, from_checkpoint=False)
    assert refused.value.code == "succeeded"


async def test_without_a_checkpoint_there_is_nothing_to_start_from(harness: LedgerHarness) -> None:
    job = await cancelled(harness)
    with pytest.raises(NotRetryable) as refused:
        await retry(harness, job)
    assert refused.value.code == "no_checkpoint"
    assert (await retry(harness, job, from_checkpoint=False)).retry_of == job


async def test_there_is_no_retry_of_an_unknown_job(harness: LedgerHarness) -> None:
    async with harness.database.write() as session:
        found = await harness.ledger.retry(session, "job_none", from_checkpoint=False, key_id=None, threads=1)
    assert found is None


async def test_the_end_of_a_job_says_what_is_kept(harness: LedgerHarness) -> None:
    job = await cancelled(harness, 10, 20)
    end = (await harness.events(job))[-1]
    assert end.data["state"] == "cancelled"
    assert end.data["kept"] == {"checkpoint": checkpoint(20).name, "step": 20}
    bare = await cancelled(harness)
    assert "kept" not in (await harness.events(bare))[-1].data


async def test_checkpoints_are_kept_for_their_time(harness: LedgerHarness) -> None:
    old = await cancelled(harness, 10)
    assert await harness.ledger.discard([old], LONG) == {old: False}
    assert (await harness.row(old)).checkpoint == checkpoint(10).name
    assert await harness.ledger.discard([old], AT_ONCE) == {old: True}
    assert (await harness.row(old)).checkpoint is None
    with pytest.raises(NotRetryable):
        await retry(harness, old)


async def test_checkpoints_stay_while_a_retry_needs_them_and_go_with_its_end(harness: LedgerHarness) -> None:
    old = await cancelled(harness, 10)
    new = await retry(harness, old)
    assert await harness.ledger.discard([old], AT_ONCE) == {old: False}
    await harness.cancel(new.id)
    assert await harness.ledger.discard([old], AT_ONCE) == {old: True}


async def test_what_a_retry_took_over_is_its_own_newest_until_it_writes_one(harness: LedgerHarness) -> None:
    old = await cancelled(harness, 10)
    new = (await retry(harness, old)).id
    claim = await harness.running()
    assert await harness.ledger.take_over_checkpoints(claim)
    assert ((await harness.row(new)).checkpoint, (await harness.row(new)).checkpoint_step) == (checkpoint(10).name, 10)
    assert await harness.ledger.record(claim, [checkpoint(20)])
    assert await harness.ledger.take_over_checkpoints(claim)
    assert ((await harness.row(new)).checkpoint, (await harness.row(new)).checkpoint_step) == (checkpoint(20).name, 20)
    assert await harness.ledger.drain(claim)
    assert not await harness.ledger.take_over_checkpoints(claim)


async def test_what_ended_without_a_checkpoint_or_well_goes_at_once_and_what_has_not_ended_stays(
    harness: LedgerHarness,
) -> None:
    bare, done = await cancelled(harness), await harness.job()
    claim = await harness.running()
    assert await harness.ledger.record(claim, [checkpoint(10)])
    assert await harness.ledger.succeed(claim, await harness.publication())
    failed = await harness.job()
    assert await harness.ledger.fail(await harness.running(), user_error())
    waiting = await harness.job()
    found = await harness.ledger.discard([bare, done, failed, waiting, "job_none"], LONG)
    assert found == {bare: True, done: True, failed: True}
