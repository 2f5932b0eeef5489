"""With whom a row is mixed: in each epoch the training split stands in one random circle, and a row's partner is the
next one.

So the partner is another row (where there are two), every row is a partner once an epoch, and who it is depends on
the split, the seed, the epoch and the row alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from workers.engine.data.augment.draws import Draws


class Partners:
    """`split`: the training rows (int64 [N], host, in any order). `take`: their preprocessed inputs, as for `x`."""

    def __init__(self, split: Tensor, take: Callable[[Tensor], Tensor]) -> None:
        self.take = take
        self._split = split.sort().values
        self._circle: tuple[tuple[int, int], Tensor] | None = None

    def of(self, rows: Tensor, seed: int, epoch: int) -> Tensor:
        """The partners of these rows, int64 [n] on the host. Raises ValueError for rows outside the split."""
        places = torch.searchsorted(self._split, rows).clamp_max(len(self._split) - 1)
        if not torch.equal(self._split[places], rows):
            raise ValueError("only rows of the training split have partners")
        return self._next(seed, epoch)[places]

    def _next(self, seed: int, epoch: int) -> Tensor:
        """The partner of each row of the split, in its order; kept for the epoch, as sorting takes its time."""
        if self._circle is None or self._circle[0] != (seed, epoch):
            order = Draws.of(self._split, seed, "partner", epoch).words(1)[:, 0].argsort(stable=True)
            following = torch.empty_like(order)
            following[order] = order.roll(-1)
            self._circle = (seed, epoch), self._split[following]
        return self._circle[1]
