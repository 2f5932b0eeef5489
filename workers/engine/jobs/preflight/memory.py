"""Bytes that learners hold between two steps."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from workers.engine.balancing.gradient import GradientBalancer
from workers.engine.training.learner import Learner
from workers.engine.training.vectorised import VectorisedLearners

_PLACES = {
    "network": "parameters",
    "weights": "parameters",
    "modules": "parameters",
    "best": "best",
    "recorder": "recorder",
}
"""Where the tensors that a learner saves belong; whatever else there is, is state of its optimiser or balancer."""


@dataclass(frozen=True)
class Held:
    """Bytes of those who train at once. `parameters` has buffers and projectors in it, `gradients` the Jacobians of a
    gradient balancer.
    """

    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    best: int = 0
    activations: int = 0

    def __add__(self, other: "Held") -> "Held":
        return Held(
            self.parameters + other.parameters,
            self.gradients + other.gradients,
            self.optimizer + other.optimizer,
            self.best + other.best,
            self.activations + other.activations,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return self.parameters + self.gradients + self.optimizer + self.best + self.activations


def held_by(learner: Learner | VectorisedLearners) -> Held:
    """What a learner holds that has taken a step and, where there is a validation split, has been judged."""
    sums = {"parameters": 0, "best": 0, "recorder": 0, "optimizer": 0}
    for name, tensor in learner.save()[0].items():
        sums[_PLACES.get(name.split("/")[1], "optimizer")] += tensor.nbytes
    return Held(sums["parameters"], _gradients(learner), sums["optimizer"], sums["best"])


def _gradients(learner: Learner | VectorisedLearners) -> int:
    """One for each trained number; a balancer of gradients has one for each task and shared number besides."""
    own = _trained_bytes(learner.parameters.all)
    if isinstance(learner, VectorisedLearners) or not isinstance(learner.balancer, GradientBalancer):
        return own
    return own + len(learner.tasks) * _trained_bytes(learner.parameters.trunk)


def _trained_bytes(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.nbytes for parameter in parameters if parameter.requires_grad)
