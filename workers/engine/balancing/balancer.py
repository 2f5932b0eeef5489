"""What a balancer does: from the losses of the tasks that are present to gradients in `.grad`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Losses:
    """The losses of one micro-batch: `values[k]` is that of task `present[k]` (its place in the job)."""

    present: tuple[int, ...]
    values: tuple[Tensor, ...]


@dataclass(frozen=True)
class Shared:
    """Parameters that several tasks reach: `tasks` are their places in the job, in order."""

    parameters: tuple[nn.Parameter, ...]
    tasks: tuple[int, ...]
    tower: int | None = None
    """The task whose tower they are, where they are one's."""


@dataclass(frozen=True)
class Parameters:
    """What is trained. Each of `shared` is balanced by itself: one trunk, one a group of tasks, or towers that reach
    each other; `own[i]` belongs to task i alone: its head, and what its terms train beside the student.
    """

    shared: tuple[Shared, ...]
    own: tuple[tuple[nn.Parameter, ...], ...]

    @property
    def trunk(self) -> list[nn.Parameter]:
        """Everything that tasks share."""
        return [parameter for each in self.shared for parameter in each.parameters]

    @property
    def all(self) -> list[nn.Parameter]:
        """What is shared, then each task's own."""
        return [*self.trunk, *(parameter for each in self.own for parameter in each)]

    def own_of(self, tasks: Sequence[int]) -> list[nn.Parameter]:
        """What belongs to these tasks."""
        return [parameter for i in tasks for parameter in self.own[i]]


class Balancer(Protocol):
    """Called for each micro-batch, then once for the optimiser step.

    Absent tasks are left out of `losses`; a balancer with state keeps theirs untouched.
    """

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        """Accumulate gradients (or Jacobians) of a micro-batch."""
        ...

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """Leave the step's gradient in `.grad` of every trained parameter."""
        ...

    def clip(self, parameters: Parameters, norm: float) -> None:
        """Rescale `.grad` where its norm is above `norm`."""
        ...

    def end_epoch(self) -> None:
        """An epoch is over."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed balancer needs, by name."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        ...


class Stateless:
    """The parts that a balancer without state shares."""

    def end_epoch(self) -> None:
        """Nothing to do."""

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load; raises ValueError where something was saved."""
        if state:
            raise ValueError(f"a balancer without state was given {sorted(state)}")


def clip_together(parameters: Sequence[torch.nn.Parameter], norm: float) -> None:
    """Rescale the gradients of `parameters` so that their joint norm is at most `norm`; no host synchronisation."""
    torch.nn.utils.clip_grad_norm_(parameters, norm)
