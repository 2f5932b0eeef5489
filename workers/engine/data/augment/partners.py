"""Partners of mixed rows: in each epoch the training split forms a random cycle, and a row's partner is the next row.

The partner is thus another row (if there are two), every row is a partner once in an epoch, and the partner depends on
the split, the seed, the epoch and the row alone.
"""

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from workers.engine.data.augment.draws import Draws

_EPOCHS = 2


class MixingPartners:
    """`split`: the training rows (int64 [N], host, in any order). `take`: row numbers -> preprocessed inputs [n, …]."""

    def __init__(self, split: Tensor, take: Callable[[Tensor], Tensor]) -> None:
        self.take = take
        self._split = split.sort().values
        self._cached: dict[tuple[int, int], Tensor] = {}

    def taken_by(self, take: Callable[[Tensor], Tensor]) -> "MixingPartners":
        """The same partners, whose inputs `take` gives."""
        other = copy(self)
        other.take = take
        return other

    def of(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        """The partners of these rows, int64 [n] on the host. Raises ValueError for rows outside the split."""
        indices = torch.searchsorted(self._split, rows).clamp_max(len(self._split) - 1)
        if not torch.equal(self._split[indices], rows):
            raise ValueError("only rows of the training split have partners")
        return self._partners(seed, epoch)[indices]

    def _partners(self, seed: int, epoch: int) -> Tensor:
        """The partner of each row of the split, in its order; cached for two epochs, as sorting is slow: rows of the
        next one are read ahead.
        """
        if (seed, epoch) not in self._cached:
            order = Draws.of(self._split, seed, "partner", epoch).words(1)[:, 0].argsort(stable=True)
            following = torch.empty_like(order)
            following[order] = order.roll(-1)
            self._cached[seed, epoch] = self._split[following]
            if len(self._cached) > _EPOCHS:
                del self._cached[next(iter(self._cached))]
        return self._cached[seed, epoch]
