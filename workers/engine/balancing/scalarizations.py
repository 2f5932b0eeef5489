"""Loss methods that learn no numbers of their own: random, dwa, geometric_mean, stch (formulas: see `Balancing`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.balancing.balancer import refuse_others
from workers.engine.balancing.loss import LEAST
from workers.engine.balancing.slots import Place, Slots
from workers.engine.common.seeds import generator

_BLOCK = 64
"""So many steps' random weights are drawn, and sent to the device, together."""


class Method:
    """Defaults of a loss method: weights by one micro-batch at a time, no second forward pass, no state."""

    needs_whole_batch = False
    needs_losses_after = False

    def learn(self, objectives: Tensor, place: Place) -> None:
        """Nothing to do."""

    def learn_after(self, before: Tensor, after: Tensor, place: Place) -> None:
        """Nothing to do."""

    def end_epoch(self) -> None:
        """Nothing to do."""

    def state(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Nothing to load."""
        refuse_others(state, {})


class Random(Method):
    """Lin 2022, Reasonable Effectiveness of Random Weighting, algorithm 2; there the weights sum to 1, here to k."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._block = -1
        self._drawn: dict[tuple[int, torch.device], tuple[Tensor, ...]] = {}

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """K softmax(ε), of (seed, step, k) alone: drawn on the host, so that all devices have the same, for many steps
        at once.
        """
        count, block = len(place.tasks), step // _BLOCK
        if block != self._block:
            self._block, self._drawn = block, {}
        key = count, objectives.device
        if key not in self._drawn:
            drawn = torch.randn(_BLOCK, count, generator=generator(self._seed, "balancer", block)).softmax(1)
            self._drawn[key] = (count * drawn).to(objectives.device).unbind()
        return self._drawn[key][step % _BLOCK]


class Dwa(Method):
    """Liu 2019, End-to-End Multi-Task Learning with Attention, equation 7. The mean of a task's losses is over the
    batches that have it; an epoch without it leaves its history as it is. Before a task has two epochs its rate is 1.
    """

    def __init__(self, count: int, temperature: float) -> None:
        self._temperature = temperature
        unknown = torch.full((count,), torch.nan)
        self._shares: dict[tuple[tuple[int, ...], torch.device], Tensor] = {}
        self._slots = Slots(
            sums=torch.zeros(count), batches=torch.zeros(count), last=unknown, before_last=unknown.clone()
        )

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """λ of this epoch."""
        key = place.tasks, place.index.device
        if key not in self._shares:
            rates = self._slots.at("last", place) / self._slots.at("before_last", place).clamp_min(LEAST)
            known = torch.where(rates.isnan(), 1.0, rates)
            self._shares[key] = len(place.tasks) * (known / self._temperature).softmax(0)
        return self._shares[key]

    def learn(self, objectives: Tensor, place: Place) -> None:
        """Add to the epoch's sums."""
        self._slots.add("sums", place, objectives)
        self._slots.add("batches", place, torch.ones_like(objectives))

    def end_epoch(self) -> None:
        """Roll the history on."""
        self._shares = {}
        slots = self._slots
        sums, batches, last = (slots.whole(name) for name in ("sums", "batches", "last"))
        if batches.device != last.device:  # the history is on the host until the first epoch ends
            last = last.to(batches.device)
        before_last = slots.whole("before_last").to(batches.device)
        present = batches > 0.0
        mean = sums / batches.clamp_min(1.0)
        slots.replace(
            last=torch.where(present, mean, last),
            before_last=torch.where(present, last, before_last),
            sums=torch.zeros_like(sums),
            batches=torch.zeros_like(batches),
        )

    def state(self) -> dict[str, Tensor]:
        """The epoch so far, and the two before it."""
        return self._slots.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._shares = {}
        self._slots.load_state(state)


class GeometricMean(Method):
    """Chennupati 2019, MultiNet++."""

    needs_whole_batch = True

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """G / (k L_i), G the geometric mean."""
        safe = objectives.clamp_min(LEAST)
        return safe.log().mean().exp() / (len(place.tasks) * safe)


class Stch(Method):
    """Lin 2024, Smooth Tchebycheff Scalarization, with the ideal point 0 and weighted losses divided by their mean
    (which counts as a constant), as the paper's μ has the losses' unit.
    """

    needs_whole_batch = True

    def __init__(self, weights: Sequence[float], mu: float) -> None:
        self._slots = Slots(weights=torch.tensor(weights))
        self._mu = mu

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """w_i softmax(w L / (μ m))_i."""
        preference = self._slots.at("weights", place).to(objectives.dtype)
        weighted = preference * objectives
        return preference * (weighted / (self._mu * weighted.mean().clamp_min(LEAST))).softmax(0)
