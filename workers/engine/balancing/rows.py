"""The input of a gradient method: the tasks' gradients on shared parameters, and R over them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.engine.balancing.slots import Place


@dataclass(frozen=True)
class Rows:
    """Gradients J [k, P] of the tasks of `place`, their Gramian J Jᵀ [k, k] and their losses [k], for the whole batch.

    Methods that need inner products alone read `gramian` and give `weighted`: R then costs k x k numbers.
    """

    own: Tensor
    own_gramian: Tensor
    losses: Tensor
    place: Place

    @property
    def jacobian(self) -> Tensor:
        """The rows of the objectives: R J [k, P]."""
        return self.place.objectives(self.own)

    @property
    def gramian(self) -> Tensor:
        """Inner products of the rows of the objectives: R J Jᵀ Rᵀ [k, k].

        A row whose square is 0 has no product with others either: a square underflows before the products do, and
        methods divide one by the other.
        """
        found = self.place.objectives(self.place.objectives(self.own_gramian).T)
        vanished = found.diagonal() == 0.0
        return torch.where(vanished[:, None] | vanished[None, :], torch.zeros_like(found), found)

    @property
    def objectives(self) -> Tensor:
        """Their values: R L [k], in the gradients' type."""
        return self.place.objectives(self.losses.to(self.own.dtype))

    def weighted(self, weights: Tensor) -> Tensor:
        """wᵀ R J [P] for weights of the objectives [k]."""
        return self.place.on_losses(weights.to(self.own.dtype)) @ self.own


def mean_norm(gramian: Tensor) -> Tensor:
    """s, the mean norm of the rows; 1 where all of them are zero."""
    scale = gramian.diagonal().clamp_min(0.0).sqrt().mean()
    return torch.where(scale == 0.0, torch.ones_like(scale), scale)  # NaN stays: it must reach the loop
