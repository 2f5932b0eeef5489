"""gradnorm and db_mtl, which torchjd does not have: ours, small (formulas: see `Balancing`)."""

import torch
from torch import Tensor

from workers.engine.balancing.balancer import refuse_others
from workers.engine.balancing.loss import LEAST
from workers.engine.balancing.rows import Rows, mean_norm
from workers.engine.balancing.slots import Place, Slots, adam_slots, adam_step

FLOOR = 0.01
"""Least weight of a task in gradnorm."""


class GradNorm:
    """Chen 2018, GradNorm, algorithm 1, on all shared parameters (the paper takes the last shared layer, for time).

    Norms are divided by their mean, so that how the weights learn does not depend on the losses' scale; L_i(0) is the
    first loss that task i ever had. Present tasks share the sum that they had before, so that all weights sum to K.
    Heads keep their own weighted loss, as under every gradient method here.
    """

    def __init__(self, count: int, alpha: float, rate: float) -> None:
        self._alpha = alpha
        self._rate = rate
        self._weights = adam_slots(torch.ones(count))
        self._first = Slots(first=torch.full((count,), torch.nan))

    def combine(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        gramian, place = rows.gramian, rows.place
        weights = self._weights.at("value", place).to(gramian.dtype)
        norms = gramian.diagonal().clamp_min(0.0).sqrt() / mean_norm(gramian)
        self._learn(weights, norms, rows.objectives, place)
        return rows.weighted(weights), weights

    def _learn(self, weights: Tensor, norms: Tensor, objectives: Tensor, place: Place) -> None:
        first = self._first.at("first", place).to(objectives.dtype)
        first = torch.where(first.isnan(), objectives.clamp_min(LEAST), first)
        self._first.put("first", place, first)
        rates = objectives.clamp_min(LEAST) / first
        weighted = weights * norms
        target = weighted.mean() * (rates / rates.mean()) ** self._alpha
        adam_step(self._weights, place, (weighted - target).sign() * norms, self._rate)
        moved = self._weights.at("value", place).clamp_min(FLOOR)
        self._weights.put("value", place, moved * (weights.sum() / moved.sum()).to(moved.dtype))

    def state(self) -> dict[str, Tensor]:
        """The weights, the state of their Adam, and the first losses."""
        return self._weights.state() | self._first.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        refuse_others(state, self.state())
        self._first.load_state({"first": state["first"]})
        self._weights.load_state({name: value for name, value in state.items() if name != "first"})


class DbMtl:
    """Lin 2023, Dual-Balancing for Multi-Task Learning: ∇ log L_i = ∇L_i / L_i, averaged over the steps that have task
    i (from its first gradient, not from 0), each then as long as the longest.

    The logarithm is taken of what drives the trunk; heads keep their own weighted loss, as under every gradient method
    here.
    """

    def __init__(self, count: int, beta: float) -> None:
        self._count = count
        self._beta = beta
        self._slots: Slots | None = None

    def combine(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        place = rows.place
        gradients = rows.jacobian / rows.objectives.clamp_min(LEAST)[:, None]
        if self._slots is None:
            average = gradients.new_zeros(self._count, gradients.shape[1])
            self._slots = Slots(average=average, seen=gradients.new_zeros(self._count))
        before, seen = self._slots.at("average", place), self._slots.at("seen", place)
        average = torch.where(seen[:, None] > 0.0, torch.lerp(gradients, before, self._beta), gradients)
        self._slots.put("average", place, average)
        self._slots.put("seen", place, torch.ones_like(seen))
        norms = average.norm(dim=1)
        factors = norms.max() / norms.clamp_min(torch.finfo(norms.dtype).tiny)
        return torch.where(norms > 0.0, factors, 0.0) @ average, None

    def state(self) -> dict[str, Tensor]:
        """The averages [K, P], and which tasks have one; nothing before the first step."""
        return self._slots.state() if self._slots is not None else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        refuse_others(state, {"average": torch.empty(0), "seen": torch.empty(0)})
        self._slots = Slots(**state)
