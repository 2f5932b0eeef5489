"""What passes between the loop and its members: micro-batches one way, answers and counts the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from workers.engine.data.columns import Rows
from workers.engine.losses.term import Seen
from workers.engine.tasks.task import Task

Counts = Sequence[Sequence[int]]
"""For each task, for each of its terms: the counted rows of a whole batch."""
Peers = Sequence[Mapping[str, Tensor]]
"""What other members put out for the same rows, by task."""


@dataclass(frozen=True)
class Part:
    """A micro-batch: its inputs x [n, …], its rows, and `draw` = (step, place), which names its dropout masks."""

    x: Tensor
    rows: Rows
    draw: tuple[int, int]


@dataclass(frozen=True)
class Answers:
    """What a member put out for some rows: {task: [n, size]}, and the layers that its terms look at."""

    outputs: Mapping[str, Tensor]
    taps: Mapping[str, Tensor]

    def of(self, task: Task, progress: float, peers: Peers = ()) -> Seen:
        """As the terms of a task see them."""
        return Seen(self.outputs[task.name], self.taps, progress, tuple(peer[task.name] for peer in peers))
