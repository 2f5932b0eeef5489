"""Loss methods behind one adapter: a method gives the factor of each objective, on trunk and heads alike.

Every scalarisation S of the objectives O = R L has the gradient Σ_i ∂S/∂O_i ∇O_i; a method gives ∂S/∂O_i as numbers,
from its state and, where S is not linear, from the objectives of the whole batch. So micro-batches add up to
the batch, absent tasks are left out, and R by rows comes to the weights Rᵀ ∂S/∂O on the losses. A method learns at the
end of the step.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from workers.engine.balancing.balancer import Losses, Parameters, clip_together, stacked
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.balancing.slots import Place, Places

LEAST = 1e-8
"""Losses are at least this where a method divides by them or takes logarithms. Every term of the service is at least 0
as it is defined; rounding may make it a little less.
"""


class LossMethod(Protocol):
    """A scalarisation. Objectives are detached, [k] for the tasks of `place`."""

    needs_whole_batch: bool
    needs_losses_after: bool

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """∂S/∂O [k]. `objectives` are those of the whole batch if the method is `needs_whole_batch`, else anything."""
        ...

    def learn(self, objectives: Tensor, place: Place) -> None:
        """The step's objectives over the whole batch."""
        ...

    def learn_after(self, before: Tensor, after: Tensor, place: Place) -> None:
        """The objectives before and after the optimizer's step, if the method `needs_losses_after`."""
        ...

    def end_epoch(self) -> None:
        """An epoch is over."""
        ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...


class LossBalancer:
    """Any loss method, for `count` tasks."""

    has_gramian = False
    last_gramian: Tensor | None = None

    def __init__(self, method: LossMethod, count: int, relation: Relation | None = None) -> None:
        self.method = method
        self.needs_whole_batch = method.needs_whole_batch
        self.needs_losses_after = method.needs_losses_after
        self._count = count
        self._places = Places(relation)
        self._step = 0
        self._weights: Tensor | None = None
        self._losses: Tensor | None = None
        self._last: tuple[Place, Tensor, Tensor] | None = None
        """Of the last step: who was present, the weights and the losses."""

    @property
    def last_weights(self) -> Tensor | None:
        """Computed at the call."""
        if self._last is None:
            return None
        place, weights, _ = self._last
        return place.spread(weights, self._count)

    def begin_step(self, step: int) -> None:
        self._step, self._weights, self._losses = step, None, None

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        if not losses.terms:
            return
        values = stacked(losses.values)
        place = self._places.of(losses.present, values.device)
        self._losses = losses.accumulated(self._losses, values)
        if self._weights is None:
            weights = self.method.weights(place.objectives(self._losses), place, self._step)
            self._weights = place.on_losses(weights).to(self._losses.dtype)
        # The weights are what the backward pass starts with: the sum itself is never made.
        torch.autograd.backward(values, self._weights.to(values.dtype))

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """Backward has filled `.grad`; the method learns."""
        self._last = None
        if self._losses is None or self._weights is None:
            return
        place = self._places.of(present, self._losses.device)
        self.method.learn(place.objectives(self._losses), place)
        self._last = (place, self._weights, self._losses)

    def clip(self, parameters: Parameters, norm: float) -> None:
        """All parameters together; what the method learns is no part of them."""
        clip_together(parameters.all, norm)

    def after_step(self, again: Callable[[], Tensor]) -> None:
        if not self.needs_losses_after or self._last is None:
            return
        place, _, before = self._last
        self.method.learn_after(place.objectives(before), place.objectives(again()), place)

    def end_epoch(self) -> None:
        self.method.end_epoch()

    def state(self) -> dict[str, Tensor]:
        return self.method.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.method.load_state(state)
