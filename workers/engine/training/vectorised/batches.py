"""The batches of several members that differ in their order alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.training.batches import BatchSchedule


@dataclass(frozen=True)
class MemberBatches(BatchSchedule):
    """The schedules of K members as one: batches of n rows for each member are one of K · n rows, member by member."""

    members: tuple[BatchSchedule, ...] = ()

    @classmethod
    def of(cls, members: Sequence[BatchSchedule]) -> "MemberBatches | None":
        """None where the members' batches differ in more than their rows."""
        first = members[0]
        equal = all(
            each.steps == first.steps
            and each.training.batch_size == first.training.batch_size
            and len(each.rows) == len(first.rows)
            and each.batches == first.batches
            and torch.equal(each.validation, first.validation)
            for each in members
        )
        if not equal:
            return None
        return cls(first.training, first.rows, first.validation, first.mixture, tuple(members))

    def epoch(self, number: int) -> list[Tensor]:
        """The batches of epoch `number` (from 0): row numbers [K · n]."""
        return [torch.cat(parts) for parts in zip(*(each.epoch(number) for each in self.members), strict=True)]
