"""Squared error to the teacher's numbers."""

from torch import Tensor

from workers.engine.losses.softmax import widened


def number_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error to the teacher's numbers (standardised units): both [N, size] -> [N]."""
    return (widened(student) - teacher).square().mean(-1)
