"""Gradient methods behind one adapter.

Trunk: the Jacobian J of the tasks that are present on the shared parameters, one row each, summed over micro-batches;
R·J are the rows of the objectives, and a method combines them. Heads: each
gets the gradient of its own weighted loss (trap 7). Both come from one backward pass for each task. Clipping comes
after combination, the trunk apart from the heads.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from workers.engine.balancing.balancer import Losses, Parameters, Shared, clip_together, refuse_others
from workers.engine.balancing.relation.matrix import Relation
from workers.engine.balancing.rows import Rows
from workers.engine.balancing.slots import Place, Places
from workers.engine.common.seeds import seed_step

Gradients = list[Tensor | None]


class Combination(Protocol):
    """A gradient method on one set of shared parameters, with its state."""

    def combine(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """(update [P], what the objectives' rows were multiplied by [k] where it is a weighted sum). Zeros where all
        rows are zero.
        """
        ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...


class GradientBalancer:
    """Any gradient method: `make` gives one for each set of shared parameters."""

    needs_whole_batch = False
    has_gramian = True
    needs_losses_after = False

    def __init__(
        self,
        make: Callable[[], Combination],
        weights: Sequence[float],
        relation: Relation | None,
        seed: int,
    ) -> None:
        self._make = make
        self._weights = tuple(weights)
        self._places = Places(relation)
        self._seed = seed
        self._combinations: dict[int, Combination] = {}
        self._rows: dict[tuple[int, int], Gradients] = {}
        """By (shared set, task): a gradient for each trained parameter that the task reaches."""
        self._losses: Tensor | None = None
        self.last_weights: Tensor | None = None
        self.last_gramian: Tensor | None = None

    def begin_step(self, step: int) -> None:
        """Discard the rows of a step that did not end."""
        self._rows, self._losses = {}, None

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        """Add the gradients of a micro-batch: on the trunk to the tasks' rows, on the heads to `.grad`."""
        if not losses.terms:
            return
        self._losses = losses.accumulated(self._losses)
        for k, (task, loss) in enumerate(zip(losses.present, losses.values, strict=True)):
            self._one_task(task, loss, parameters, last=k == len(losses.values) - 1)

    def _one_task(self, task: int, loss: Tensor, parameters: Parameters, *, last: bool) -> None:
        reached = [(n, _trained(each)) for n, each in enumerate(parameters.shared) if task in each.tasks]
        own = [parameter for parameter in parameters.own[task] if parameter.requires_grad]
        wanted = [parameter for _, trained in reached for parameter in trained] + own
        if not wanted:
            return
        found = iter(torch.autograd.grad(loss, wanted, retain_graph=not last, allow_unused=True))
        for n, trained in reached:
            here: Gradients = [next(found) for _ in trained]
            before = self._rows.get((n, task), [None] * len(trained))
            self._rows[n, task] = [_sum(a, b) for a, b in zip(before, here, strict=True)]
        for parameter, gradient in zip(own, found, strict=True):
            if gradient is not None:
                parameter.grad = _sum(parameter.grad, self._weights[task] * gradient)

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """Combine the rows into `.grad` of the trunk."""
        seed_step(self._seed, "balancer", step)
        self.last_weights = self.last_gramian = None
        for n, shared in enumerate(parameters.shared):
            tasks = [task for task in present if (n, task) in self._rows]
            trained = _trained(shared)
            rows = [self._rows.pop((n, task)) for task in tasks]
            used = [any(row[at] is not None for row in rows) for at in range(len(trained))]
            if any(used):
                jacobian = _matrix(rows, trained)
                rows.clear()  # only one copy of the gradients is in memory while the rows are combined
                self._one_set(n, present, tasks, jacobian, trained, used)
        self._rows, self._losses = {}, None

    def _one_set(
        self,
        n: int,
        present: Sequence[int],
        tasks: Sequence[int],
        jacobian: Tensor,
        trained: Sequence[nn.Parameter],
        used: Sequence[bool],
    ) -> None:
        place, losses = self._places.of(tasks, jacobian.device), self._losses
        assert losses is not None
        if len(tasks) < len(present):
            losses = losses[[list(present).index(task) for task in tasks]]
        gramian = jacobian @ jacobian.T
        self._add_gramian(place.spread(gramian, len(self._weights)), present, place)
        update, weights = self._combination(n).combine(Rows(jacobian, gramian, losses, place))
        if weights is not None and self.last_weights is None:
            self.last_weights = place.spread(place.on_losses(weights), len(self._weights))
        parts = torch.split(update, [parameter.numel() for parameter in trained])
        for parameter, part, is_used in zip(trained, parts, used, strict=True):
            if is_used:  # frozen and unused ones keep no gradient: weight decay would move them (trap 8)
                parameter.grad = part.view_as(parameter)

    def _add_gramian(self, found: Tensor, present: Sequence[int], place: Place) -> None:
        """A task that does not reach a set has no gradient on it: 0."""
        if len(place.tasks) < len(present):
            whole = self._places.of(present, found.device)
            zeros = whole.spread(found.new_zeros(len(present), len(present)), len(self._weights))
            found = torch.where(found.isnan(), zeros, found)
        self.last_gramian = found if self.last_gramian is None else self.last_gramian + found

    def _combination(self, n: int) -> Combination:
        if n not in self._combinations:
            self._combinations[n] = self._make()
        return self._combinations[n]

    def clip(self, parameters: Parameters, norm: float) -> None:
        """The trunk and the heads apart: combination gives them lengths that do not compare."""
        clip_together(parameters.trunk, norm)
        clip_together(parameters.own_of(range(len(parameters.own))), norm)

    def after_step(self, again: Callable[[], Tensor]) -> None:
        """Nothing to do."""

    def end_epoch(self) -> None:
        """Nothing to do."""

    def state(self) -> dict[str, Tensor]:
        """Of every set of shared parameters, as `<set>/<name>`."""
        return {
            f"{n}/{name}": value
            for n, combination in self._combinations.items()
            for name, value in combination.state().items()
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        by_set: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            n, _, rest = name.partition("/")
            if not n.isdigit():
                refuse_others(state, {})
            by_set.setdefault(int(n), {})[rest] = value
        for place, part in by_set.items():
            self._combination(place).load_state(part)


def _trained(shared: Shared) -> list[nn.Parameter]:
    return [parameter for parameter in shared.parameters if parameter.requires_grad]


def _sum(before: Tensor | None, here: Tensor | None) -> Tensor | None:
    """Their sum; None is nothing. Never in place: autograd may hand out one tensor twice."""
    if before is None or here is None:
        return here if before is None else before
    return before + here


def _matrix(rows: Sequence[Gradients], trained: Sequence[nn.Parameter]) -> Tensor:
    """[k, P], zeros where there is no gradient. One copy: it is most of what is added to the backward passes."""
    parts = [
        parameter.new_zeros(parameter.numel()) if gradient is None else gradient.flatten()
        for row in rows
        for gradient, parameter in zip(row, trained, strict=True)
    ]
    return torch.cat(parts).view(len(rows), -1)
