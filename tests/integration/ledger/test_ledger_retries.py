"""A retry is a new job of the same spec; what it starts from is kept for it."""

from datetime import timedelta

import pytest

from app.contracts.states import JobState
from app.db.rows import JobRow
from app.queue.records import NotRetryable
from tests.integration.ledger.world import World, checkpoint, user_error

LONG, AT_ONCE = timedelta(hours=1), timedelta(seconds=-1)


async def cancelled(world: World, *steps: int) -> str:
    """A job that was cancelled after checkpoints at these steps."""
    job = await world.job()
    claim = await world.running()
    for step in steps:
        assert await world.ledger.record(claim, [checkpoint(step)])
    await world.cancel(job)
    assert await world.ledger.yield_(claim)
    return job


async def retry(world: World, job_id: str, *, from_checkpoint: bool = True) -> JobRow:
    async with world.database.write() as session:
        row = await world.ledger.retry(session, job_id, from_checkpoint=from_checkpoint, key_id="key_2", threads=7)
        assert row is not None
        return row


async def test_a_retry_is_a_new_job_of_the_same_spec(world: World) -> None:
    old = await world.row(await cancelled(world, 10))
    new = await retry(world, old.id, from_checkpoint=False)
    assert new.id != old.id
    assert (new.state, new.attempt, new.spec) == (JobState.QUEUED, 0, old.spec)
    assert (new.retry_of, new.checkpoint_from, new.resolved_spec) == (old.id, None, None)
    assert (new.threads, new.key_id) == (7, "key_2")
    claim = await world.claim()
    assert (claim.job_id, claim.checkpoint_from) == (new.id, None)


async def test_from_a_checkpoint_it_keeps_what_was_frozen_with_it(world: World) -> None:
    old = await world.row(await cancelled(world, 10, 20))
    new = await retry(world, old.id)
    assert (new.checkpoint_from, new.resolved_spec, new.threads) == (old.id, {"resolved": True}, 1)
    claim = await world.claim()
    assert claim.checkpoint_from == old.id
    assert claim.resolved_spec == '{"resolved":true}'


async def test_a_retry_that_never_began_passes_its_own_source_on(world: World) -> None:
    old = await cancelled(world, 10)
    second = await retry(world, old)
    await world.cancel(second.id)
    third = await retry(world, second.id)
    assert (third.retry_of, third.checkpoint_from) == (second.id, old)


@pytest.mark.parametrize("from_checkpoint", [False, True])
async def test_a_job_that_has_not_ended_is_not_retried(world: World, from_checkpoint: bool) -> None:
    job = await world.job()
    with pytest.raises(NotRetryable) as refused:
        await retry(world, job, from_checkpoint=from_checkpoint)
    assert refused.value.code == "not_finished"


async def test_a_success_is_not_retried(world: World) -> None:
    job = await world.job()
    assert await world.ledger.succeed(await world.running(), await world.publication())
    with pytest.raises(NotRetryable) as refused:
        await retry(world, job, from_checkpoint=False)
    assert refused.value.code == "succeeded"


async def test_without_a_checkpoint_there_is_nothing_to_start_from(world: World) -> None:
    job = await cancelled(world)
    with pytest.raises(NotRetryable) as refused:
        await retry(world, job)
    assert refused.value.code == "no_checkpoint"
    assert (await retry(world, job, from_checkpoint=False)).retry_of == job


async def test_there_is_no_retry_of_an_unknown_job(world: World) -> None:
    async with world.database.write() as session:
        found = await world.ledger.retry(session, "job_none", from_checkpoint=False, key_id=None, threads=1)
    assert found is None


async def test_the_end_of_a_job_says_what_is_kept(world: World) -> None:
    job = await cancelled(world, 10, 20)
    end = (await world.events(job))[-1]
    assert end.data["state"] == "cancelled"
    assert end.data["kept"] == {"checkpoint": checkpoint(20).name, "step": 20}
    bare = await cancelled(world)
    assert "kept" not in (await world.events(bare))[-1].data


async def test_checkpoints_are_kept_for_their_time(world: World) -> None:
    old = await cancelled(world, 10)
    assert await world.ledger.discard([old], LONG) == {old: False}
    assert (await world.row(old)).checkpoint == checkpoint(10).name
    assert await world.ledger.discard([old], AT_ONCE) == {old: True}
    assert (await world.row(old)).checkpoint is None
    with pytest.raises(NotRetryable):
        await retry(world, old)


async def test_checkpoints_stay_while_a_retry_needs_them_and_go_with_its_end(world: World) -> None:
    old = await cancelled(world, 10)
    new = await retry(world, old)
    assert await world.ledger.discard([old], AT_ONCE) == {old: False}
    await world.cancel(new.id)
    assert await world.ledger.discard([old], AT_ONCE) == {old: True}


async def test_what_a_retry_took_over_is_its_own_newest_until_it_writes_one(world: World) -> None:
    old = await cancelled(world, 10)
    new = (await retry(world, old)).id
    claim = await world.running()
    assert await world.ledger.take_over_checkpoints(claim)
    assert ((await world.row(new)).checkpoint, (await world.row(new)).checkpoint_step) == (checkpoint(10).name, 10)
    assert await world.ledger.record(claim, [checkpoint(20)])
    assert await world.ledger.take_over_checkpoints(claim)
    assert ((await world.row(new)).checkpoint, (await world.row(new)).checkpoint_step) == (checkpoint(20).name, 20)
    assert await world.ledger.drain(claim)
    assert not await world.ledger.take_over_checkpoints(claim)


async def test_what_ended_without_a_checkpoint_or_well_goes_at_once_and_what_has_not_ended_stays(world: World) -> None:
    bare, done = await cancelled(world), await world.job()
    claim = await world.running()
    assert await world.ledger.record(claim, [checkpoint(10)])
    assert await world.ledger.succeed(claim, await world.publication())
    failed = await world.job()
    assert await world.ledger.fail(await world.running(), user_error())
    waiting = await world.job()
    found = await world.ledger.discard([bare, done, failed, waiting, "job_none"], LONG)
    assert found == {bare: True, done: True, failed: True}
