"""A term of a task's loss as the sum that its gradient comes from."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TermSum:
    """A term of a task's loss: `weight * value / count`, a scalar; `count` is None where `value` is a mean already."""

    value: Tensor
    count: int | None = None
    weight: float = 1.0

    @property
    def mean(self) -> Tensor:
        """The mean over what the term counts."""
        return self.value if self.count is None else self.value / self.count

    @property
    def weighted(self) -> Tensor:
        """The term's part of the loss."""
        return self.mean if self.weight == 1.0 else self.weight * self.mean

    def start(self, coefficient: float) -> Tensor:
        """The gradient of `coefficient * weighted` with respect to `value`, with the bits of a backward pass."""
        start = torch.full_like(self.value, coefficient, requires_grad=False)
        start = start if self.weight == 1.0 else start * self.weight
        return start if self.count is None else start / self.count
