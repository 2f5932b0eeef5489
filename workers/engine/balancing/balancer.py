"""What a balancer does: from the losses of the tasks that are present to gradients in `.grad`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Protocol

import torch
from torch import Tensor, nn

from workers.engine.balancing.term_sum import TermSum


@dataclass(frozen=True)
class Losses:
    """The losses of one micro-batch: `values[k]` is that of task `present[k]` (its place in the job). Summed over the
    micro-batches of a step they are the losses of the batch.
    """

    present: tuple[int, ...]
    terms: tuple[tuple[TermSum, ...], ...]
    """The terms of each of these tasks, one or more."""
    whole: Tensor | None = None
    """The losses of the whole batch [K], detached, where `values` have the gradients of theirs and not the numbers (see
    training/accumulation.py); the same with each micro-batch.
    """

    @classmethod
    def of(cls, present: tuple[int, ...], values: Sequence[Tensor], whole: Tensor | None = None) -> "Losses":
        """From the losses themselves."""
        return cls(present, tuple((TermSum(value),) for value in values), whole)

    @cached_property
    def values(self) -> tuple[Tensor, ...]:
        """The losses: the sum of each task's terms."""
        return tuple(reduce(torch.add, [term.weighted for term in terms]) for terms in self.terms)

    def accumulated(self, before: Tensor | None, here: Tensor | None = None) -> Tensor:
        """The losses of the micro-batches up to and including this one [K], given their sum `before`. `here`: `values`,
        if they are stacked already.
        """
        if self.whole is not None:
            return self.whole
        here = stacked(self.values).detach() if here is None else here.detach()
        return here if before is None else before + here


def stacked(values: Sequence[Tensor]) -> Tensor:
    """Scalars as one tensor [K], in the widest of their types. A backward pass from it costs less than one from each of
    them, and gives the same bits.
    """
    if len({value.dtype for value in values}) == 1:
        return torch.stack(tuple(values))
    dtype = reduce(torch.promote_types, [value.dtype for value in values])
    return torch.stack([value.to(dtype) for value in values])


@dataclass(frozen=True)
class Shared:
    """Parameters that several tasks reach: `tasks` are their places in the job, in order."""

    parameters: tuple[nn.Parameter, ...]
    tasks: tuple[int, ...]
    tower: int | None = None
    """The task that the tower belongs to, where they are a tower."""


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
    """Called at the beginning of a step, for each micro-batch, once for the optimizer step, and after it.

    Absent tasks are left out of `losses`; a balancer with state keeps theirs untouched.
    """

    needs_whole_batch: bool
    """Whether the gradient depends on the losses of the whole batch: micro-batches then come with `Losses.whole`."""
    has_gramian: bool
    """Whether every step leaves a `last_gramian`."""
    needs_losses_after: bool
    """Whether `after_step` needs the losses after the step, which cost a forward pass."""

    @property
    def last_weights(self) -> Tensor | None:
        """What the last step multiplied the tasks' losses by (loss methods), or their gradients on the shared
        parameters (gradient methods; on the first shared set): [K] by place in the job, NaN for absent tasks; None
        before the first step and where a method has no such weights. On the device of the losses where it was made
        there, and never waited for.
        """
        ...

    @property
    def last_gramian(self) -> Tensor | None:
        """Inner products of the tasks' own gradients (without R) over all shared parameters, for the whole batch of the
        last step: [K, K] by place in the job, NaN for absent tasks, on the device; None for loss methods.
        """
        ...

    def begin_step(self, step: int) -> None:
        """Optimizer step `step` (from 0) begins."""
        ...

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        """Accumulate gradients (or Jacobians) of a micro-batch."""
        ...

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """Leave the step's gradient in `.grad` of every trained parameter."""
        ...

    def clip(self, parameters: Parameters, norm: float) -> None:
        """Rescale `.grad` where its norm is above `norm`."""
        ...

    def after_step(self, again: Callable[[], Tensor]) -> None:
        """The optimizer has stepped; `again()` gives the losses [K] of the same tasks and batch with the same masks."""
        ...

    def end_epoch(self) -> None:
        """An epoch is over."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed balancer needs, by name."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`; raises ValueError where it is another balancer's."""
        ...


def refuse_others(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raises ValueError where the state is not that of the balancer that it is given to."""
    if state.keys() != expected.keys():
        raise ValueError(f"expected the state {sorted(expected)} of a balancer, found {sorted(state)}")


def clip_together(parameters: Sequence[torch.nn.Parameter], norm: float) -> None:
    """Rescale the gradients of `parameters` so that their joint norm is at most `norm`; no host synchronisation.

    As `torch.nn.utils.clip_grad_norm_`, for gradients of one device and type: sorting them by these twice takes as long
    as all its operations on a small network.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    with torch.no_grad():
        total = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, torch.clamp(norm / (total + 1e-6), max=1.0))
