"""What passes between the loop and its learners: micro-batches one way, outputs the other, and counts of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.data.columns import Rows
from workers.engine.losses.term import TermInputs
from workers.engine.tasks.task import Task

Counts = Sequence[Sequence[int]]
"""For each task, for each of its terms: the counted rows of a whole batch."""
Peers = Sequence[Mapping[str, Tensor]]
"""The outputs of other learners for the same rows, by task."""


@dataclass(frozen=True)
class MicroBatch:
    """Inputs x [n, …], the rows that they come from, and `draw` = (step, place), which seeds the dropout masks."""

    x: Tensor
    rows: Rows
    draw: tuple[int, int]


@dataclass(frozen=True)
class StepOutputs:
    """A learner's outputs for some rows, {task: [n, size]}, and the layers that its terms read."""

    outputs: Mapping[str, Tensor]
    taps: Mapping[str, Tensor]

    def of(self, task: Task, progress: float, peers: Peers = ()) -> TermInputs:
        """As the terms of a task take them."""
        return TermInputs(self.outputs[task.name], self.taps, progress, tuple(peer[task.name] for peer in peers))


def micro_batches(rows: Rows, size: int) -> list[Rows]:
    """Parts of `size` rows. As with batches, a last part of one row joins the one before: BatchNorm needs two."""
    whole, rest = divmod(len(rows), size)
    if size > 1 and whole and rest == 1:
        return rows.split([size] * (whole - 1) + [size + 1])
    return rows.split(size)


def batch_counts(tasks: Sequence[Task], counted: Sequence[Tensor], batches: Sequence[Tensor]) -> list[Counts]:
    """The counts of each batch of an epoch, known before its first step.

    `counted`: bool over the rows of all batches, one after the other, for each term of each task, flat.
    """
    sizes = [len(batch) for batch in batches]
    flat = [[int(part.sum()) for part in torch.split(each, sizes)] for each in counted]
    by_batch: list[Counts] = []
    for place in range(len(batches)):
        column = iter(flat)
        by_batch.append([[next(column)[place] for _ in task.terms] for task in tasks])
    return by_batch
