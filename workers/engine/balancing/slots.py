"""The state of balancers: tensors with one slot for each task of the job, at the task's index in it.

A batch reads and writes the slots of the tasks that it has; the others stay unchanged.
Everything is on the device of the losses, and nothing synchronises with the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.balancing.balancer import refuse_others
from workers.engine.balancing.relation.matrix import Relation

_MOST_PLACES = 4096


@dataclass(frozen=True)
class Place:
    """The tasks of a batch: their indices in the job, the same on the device [k], and R over them [k, k]."""

    tasks: tuple[int, ...]
    index: Tensor
    relation: Tensor | None

    def objectives(self, losses: Tensor) -> Tensor:
        """R L, or R J: [k, …]."""
        return losses if self.relation is None else self.relation.to(losses.dtype) @ losses

    def on_losses(self, weights: Tensor) -> Tensor:
        """Rᵀ w: the weights of the losses for these weights of the objectives, [k]."""
        return weights if self.relation is None else self.relation.to(weights.dtype).T @ weights

    def spread(self, values: Tensor, count: int) -> Tensor:
        """[k] or [k, k] as [count] or [count, count], NaN for absent tasks."""
        if self.tasks == tuple(range(count)):
            return values
        whole = values.new_full((count,) * values.dim(), torch.nan)
        at = (self.index,) if values.dim() == 1 else (self.index[:, None], self.index)
        return whole.index_put_(at, values)


class Places:
    """A `Place` for each set of present tasks, created once, because a copy to a device synchronises."""

    def __init__(self, relation: Relation | None) -> None:
        self._relation = relation
        self._made: dict[tuple[torch.device, tuple[int, ...]], Place] = {}
        self._version = 0

    def of(self, tasks: Sequence[int], device: torch.device) -> Place:
        """The place of these tasks."""
        key, version = (device, tuple(tasks)), self._relation.version if self._relation is not None else 0
        if key not in self._made or version != self._version:
            if len(self._made) == _MOST_PLACES or version != self._version:
                self._made.clear()
            self._version = version
            relation = self._relation.over(tasks).to(device) if self._relation is not None else None
            self._made[key] = Place(key[1], torch.tensor(key[1], dtype=torch.int64, device=device), relation)
        return self._made[key]


class Slots:
    """Named tensors [count, …]."""

    def __init__(self, **tensors: Tensor) -> None:
        self._tensors = tensors

    def at(self, name: str, place: Place) -> Tensor:
        """The slots of the present tasks: [k, …]."""
        return self._there(name, place.index.device)[place.index]

    def put(self, name: str, place: Place, values: Tensor) -> None:
        """Write the slots of the present tasks."""
        whole = self._there(name, place.index.device)
        self._tensors[name] = whole.index_copy(0, place.index, values.to(whole.dtype))

    def add(self, name: str, place: Place, values: Tensor) -> None:
        """Add to the slots of the present tasks."""
        whole = self._there(name, place.index.device)
        self._tensors[name] = whole.index_add(0, place.index, values.to(whole.dtype))

    def whole(self, name: str) -> Tensor:
        """The slots of all tasks, on their current device."""
        return self._tensors[name]

    def replace(self, **tensors: Tensor) -> None:
        """Replace the slots of all tasks."""
        self._tensors |= tensors

    def _there(self, name: str, device: torch.device) -> Tensor:
        if self._tensors[name].device != device:
            self._tensors[name] = self._tensors[name].to(device)
        return self._tensors[name]

    def state(self) -> dict[str, Tensor]:
        """Everything, by name."""
        return dict(self._tensors)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        refuse_others(state, self._tensors)
        self._tensors = dict(state)


def adam_slots(start: Tensor) -> Slots:
    """One number a task as `value`, from `start` [count], and the state of Adam for each."""
    zeros = torch.zeros_like(start)
    return Slots(value=start, mean=zeros, square=zeros.clone(), steps=zeros.clone())


def adam_step(slots: Slots, place: Place, gradient: Tensor, rate: float, decay: float = 0.0) -> None:
    """A step of Adam (Kingma 2015; β 0.9 and 0.999, ε 1e-8, decay as an L2 term) on the numbers of the
    present tasks; each counts its own steps.
    """
    value, steps = slots.at("value", place), slots.at("steps", place) + 1.0
    gradient = gradient.to(value.dtype) + decay * value
    mean = torch.lerp(slots.at("mean", place), gradient, 0.1)
    square = 0.999 * slots.at("square", place) + 0.001 * gradient.square()
    spread = (square / (1.0 - 0.999**steps)).sqrt() + 1e-8
    value = value - rate * mean / (1.0 - 0.9**steps) / spread
    for name, values in (("value", value), ("mean", mean), ("square", square), ("steps", steps)):
        slots.put(name, place, values)
