"""`fixed`: the literal weighted sum. With R by rows it comes to the weights Rᵀw."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.engine.balancing.balancer import Losses, Parameters, Stateless, clip_together
from workers.engine.relations import Relation


class Fixed(Stateless):
    """Σ_i w_i Σ_j R_ij L_j on trunk and heads alike; without R, Σ_i w_i L_i. Update length: that of the sum."""

    def __init__(self, weights: Sequence[float], relation: Relation | None = None) -> None:
        self._weights = tuple(weights)
        self._relation = relation
        self._coefficients: dict[tuple[tuple[int, ...], int], tuple[float, ...]] = {}

    def coefficients(self, present: tuple[int, ...]) -> tuple[float, ...]:
        """What the loss of each present task is multiplied by."""
        key = (present, self._relation.version if self._relation is not None else 0)
        if key not in self._coefficients:
            weights = torch.tensor([self._weights[i] for i in present], dtype=torch.float32)
            if self._relation is not None:
                weights = weights @ self._relation.over(present)
            self._coefficients = {k: v for k, v in self._coefficients.items() if k[1] == key[1]}
            self._coefficients[key] = tuple(weights.tolist())
        return self._coefficients[key]

    def backward(self, losses: Losses, parameters: Parameters) -> None:
        """See `Balancer`."""
        total: Tensor | None = None
        for weight, loss in zip(self.coefficients(losses.present), losses.values, strict=True):
            total = weight * loss if total is None else total + weight * loss
        if total is not None:
            total.backward()  # type: ignore[no-untyped-call]

    def finish(self, present: Sequence[int], parameters: Parameters, step: int) -> None:
        """Nothing is left to do: backward has filled `.grad`."""

    def clip(self, parameters: Parameters, norm: float) -> None:
        """All parameters together."""
        clip_together(parameters.all, norm)
