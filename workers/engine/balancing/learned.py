"""Loss methods that learn one number a task: uncertainty, imtl_l, famo (formulas: see `Balancing`).

The numbers have an Adam of the balancer's own. In the student's optimizer its weight decay would pull them towards
equal weights, its clipping norm would mix them with gradients of another scale, and sgd would move them by the scale
of the losses.
"""

import torch
from torch import Tensor

from workers.engine.balancing.loss import LEAST
from workers.engine.balancing.scalarizations import Method
from workers.engine.balancing.slots import Place, adam_slots, adam_step


class _Learned(Method):
    def __init__(self, count: int, rate: float) -> None:
        self._slots = adam_slots(torch.zeros(count))
        self._rate = rate

    def state(self) -> dict[str, Tensor]:
        """The numbers and the state of their Adam."""
        return self._slots.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._slots.load_state(state)


class Uncertainty(_Learned):
    """Kendall 2018, Multi-Task Learning Using Uncertainty to Weigh Losses; s = log σ² from 0."""

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """½ exp(−s)."""
        return 0.5 * (-self._slots.at("value", place)).exp()

    def learn(self, objectives: Tensor, place: Place) -> None:
        """A step against ∂/∂s of Σ ½ exp(−s) L + ½ s."""
        gradient = 0.5 - self.weights(objectives, place, 0) * objectives
        adam_step(self._slots, place, gradient, self._rate)


class ImtlL(_Learned):
    """Liu 2021, Towards Impartial Multi-Task Learning, the part on losses (with base e); s from 0."""

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """Weights exp(s)."""
        return self._slots.at("value", place).exp()

    def learn(self, objectives: Tensor, place: Place) -> None:
        """A step against ∂/∂s of Σ exp(s) L − s."""
        gradient = self.weights(objectives, place, 0) * objectives - 1.0
        adam_step(self._slots, place, gradient, self._rate)


class Famo(_Learned):
    """Liu 2023, FAMO, algorithm 1, with the losses of the same batch after the step, as in the paper. (Those of the
    next batch would spare the pass, and mix the difference of two batches into what a step did.)
    """

    needs_whole_batch = True
    needs_losses_after = True

    def __init__(self, count: int, rate: float, decay: float) -> None:
        super().__init__(count, rate)
        self._decay = decay

    def weights(self, objectives: Tensor, place: Place, step: int) -> Tensor:
        """Shares z_i / L_i over their sum, z = softmax(w) over the tasks that are there."""
        shares = self._slots.at("value", place).to(objectives.dtype).softmax(0) / objectives.clamp_min(LEAST)
        return shares / shares.sum()

    def learn_after(self, before: Tensor, after: Tensor, place: Place) -> None:
        """A step against ∂/∂w of softmax(w) · (log L(before) − log L(after))."""
        fell = before.clamp_min(LEAST).log() - after.clamp_min(LEAST).log()
        z = self._slots.at("value", place).to(fell.dtype).softmax(0)
        adam_step(self._slots, place, z * (fell - (z * fell).sum()), self._rate, self._decay)
