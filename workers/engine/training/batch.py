"""Data passed between the loop and its learners: micro-batches, outputs, counts of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.data.rows.columns import Rows
from workers.engine.losses.term import TermInputs
from workers.engine.tasks.task import Task

Counts = Sequence[Sequence[int]]
"""For each task and each of its terms: the number of rows of a batch on which the term is defined."""
PeerOutputs = Sequence[Mapping[str, Tensor]]
"""The outputs of the other learners of a group for the same rows, by task."""


@dataclass(frozen=True)
class MicroBatch:
    """Inputs x [n, …], their rows, and `position` = (step, index in the batch), which seeds the dropout masks."""

    x: Tensor
    rows: Rows
    position: tuple[int, int]


@dataclass(frozen=True)
class StepOutputs:
    """A learner's outputs for some rows, {task: [n, size]}, and the layers that its terms use.

    `tokens`: which places of the rows are tokens, bool [n, T], of a network of texts whose layers are used.
    """

    outputs: Mapping[str, Tensor]
    taps: Mapping[str, Tensor]
    tokens: Tensor | None = None

    def of(self, task: Task, progress: float, peers: PeerOutputs = ()) -> TermInputs:
        """The inputs of a task's terms."""
        of_peers = tuple(peer[task.name] for peer in peers)
        return TermInputs(self.outputs[task.name], self.taps, progress, of_peers, tokens=self.tokens)


def micro_batches(rows: Rows, size: int) -> list[Rows]:
    """Parts of `size` rows. A last part of one row is merged into the one before it, as BatchNorm needs two rows."""
    if len(rows) <= size:
        return [rows]
    full, rest = divmod(len(rows), size)
    if size > 1 and full and rest == 1:
        return rows.split([size] * (full - 1) + [size + 1])
    return rows.split(size)


def batch_counts(tasks: Sequence[Task], batches: Sequence[Tensor]) -> list[Counts]:
    """The counts of each batch of an epoch (row numbers, int64)."""
    sizes, rows = [len(batch) for batch in batches], torch.cat(list(batches))
    by_term = [
        [[int(part.sum()) for part in torch.split(term.counted[rows], sizes)] for term in task.terms] for task in tasks
    ]
    return [[[counts[i] for counts in by_batch] for by_batch in by_term] for i in range(len(batches))]
