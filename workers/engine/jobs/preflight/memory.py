"""Memory of learners between two steps."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from workers.engine.balancing.gradient import GradientBalancer
from workers.engine.training.learner import Learner
from workers.engine.training.vectorised.learners import VectorisedLearners

_CATEGORIES = {
    "network": "parameters",
    "weights": "parameters",
    "modules": "parameters",
    "best": "best",
    "recorder": "recorder",
}
"""The categories of the tensors that a learner saves; all others are state of its optimizer or balancer."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of the learners that train at once. `parameters` includes buffers and projectors, `gradients` the Jacobian
    of a gradient balancer.
    """

    parameters: int = 0
    gradients: int = 0
    optimizer: int = 0
    best: int = 0
    activations: int = 0

    def __add__(self, other: "MemoryUse") -> "MemoryUse":
        return MemoryUse(
            self.parameters + other.parameters,
            self.gradients + other.gradients,
            self.optimizer + other.optimizer,
            self.best + other.best,
            self.activations + other.activations,
        )

    @property
    def total(self) -> int:
        """Sum of all categories."""
        return self.parameters + self.gradients + self.optimizer + self.best + self.activations


def memory_of(learner: Learner | VectorisedLearners) -> MemoryUse:
    """The memory of a learner that has taken a step and, with a validation split, was validated."""
    sums = {"parameters": 0, "best": 0, "recorder": 0, "optimizer": 0}
    for name, tensor in learner.save()[0].items():
        sums[_CATEGORIES.get(name.split("/")[1], "optimizer")] += tensor.nbytes
    return MemoryUse(sums["parameters"], _gradients(learner), sums["optimizer"], sums["best"])


def _gradients(learner: Learner | VectorisedLearners) -> int:
    """Bytes of the gradients; a gradient balancer has one more of the shared parameters for each task."""
    gradients = _trained_bytes(learner.parameters.all)
    if isinstance(learner, VectorisedLearners) or not isinstance(learner.balancer, GradientBalancer):
        return gradients
    return gradients + len(learner.tasks) * _trained_bytes(learner.parameters.trunk)


def _trained_bytes(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.nbytes for parameter in parameters if parameter.requires_grad)
