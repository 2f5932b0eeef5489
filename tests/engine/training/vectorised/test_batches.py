"""The batches of members: each has the order of its own seed."""

from dataclasses import replace

import torch

from tests.engine.plain_training import plain_settings
from workers.engine.training.batches import BatchSchedule
from workers.engine.training.vectorised.batches import MemberBatches


def schedule(seed: int, rows: int = 23) -> BatchSchedule:
    training = plain_settings(batch_size=8, epochs=3).model_copy(update={"seed": seed})
    return BatchSchedule(training, torch.arange(10, 10 + rows), torch.arange(5))


def test_a_batch_holds_the_rows_that_each_seed_has_alone() -> None:
    alone = [schedule(seed) for seed in range(3)]
    together = MemberBatches.of(alone)
    assert together is not None
    assert (together.steps, together.batches, together.epochs) == (9, 3, 3)
    for number in range(3):
        batches = together.epoch(number)
        assert [len(batch) for batch in batches] == [24, 24, 21]
        for k, each in enumerate(alone):
            own = [batch.reshape(3, -1)[k] for batch in batches]
            assert all(part.equal(rows) for part, rows in zip(own, each.epoch(number), strict=True))
        assert not batches[0][:8].equal(batches[0][8:16])


def test_members_with_other_numbers_of_rows_or_steps_or_another_validation_split_have_no_common_batches() -> None:
    first = schedule(0)
    longer = replace(first, training=first.training.model_copy(update={"epochs": 4}))
    for other in (schedule(1, rows=22), longer, replace(first, validation=torch.arange(4))):
        assert MemberBatches.of([first, other]) is None
