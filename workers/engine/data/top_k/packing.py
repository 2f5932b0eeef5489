"""What is stored of a row of class scores: the k largest, some drawn from the others, and the mass of the others.

Classes are drawn by systematic sampling with probabilities proportional to exp(z / DRAW_TEMPERATURE): `draws` points at
equal distances on the cumulated probabilities, the first at a place that depends on the row's number (a Weyl sequence).
So the draws of a row are the same whenever an entry is computed again, without a generator of random numbers.
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from workers.engine.data.top_k.rest import INVERSES, NUMBERS, rest_numbers

DRAW_TEMPERATURE = 2.0
"""Between the temperatures in use: the weights of the draws then differ little at 1 as well as at 4."""
LEAST_SCORE = -1e4
"""Smallest score relative to the largest, probability 0 at any temperature: -inf would give NaN in sums."""
FORMAT = 2
"""Version of this packing. 1 had the k largest scores alone, whose probabilities were normalised again."""
_STEP = (sqrt(5.0) - 1.0) / 2.0
_VIEW_STEP = sqrt(2.0) - 1.0


@dataclass(frozen=True)
class TopKPacking:
    """`k` largest scores and `draws` of the other classes, of `size` classes.

    `epoch` is that of augmented rows, so that each epoch has draws of its own.
    """

    size: int
    k: int
    draws: int
    epoch: int = 0

    @property
    def stored(self) -> int:
        """Number of classes that are stored of a row."""
        return self.k + self.draws

    @property
    def numbers(self) -> int:
        """Number of numbers of a row beside the indices of the stored classes."""
        return self.stored + NUMBERS

    @property
    def facts(self) -> dict[str, object]:
        """What the stored numbers depend on, for the key of an entry."""
        return {
            "format": FORMAT,
            "k": self.k,
            "draws": self.draws,
            "inverses": list(INVERSES),
            "draw_temperature": DRAW_TEMPERATURE,
        }

    def pack(self, scores: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Scores [n, size] of the rows from `first` on -> (numbers float64 [n, numbers], indices int32 [n, stored]).

        Numbers of a row: the scores of the k largest and of the drawn classes, relative to the largest score; then
        those of `rest_numbers`.
        """
        largest, top = scores.topk(self.k, dim=1)
        relative = (scores.double() - largest[:, :1].double()).clamp_min(LEAST_SCORE)
        stored = torch.cat([top, self._drawn(relative, top, first)], dim=1)
        numbers = torch.cat([relative.gather(1, stored), rest_numbers(relative, top)], dim=1)
        return numbers, stored.to(torch.int32)

    def _drawn(self, scores: Tensor, top: Tensor, first: int) -> Tensor:
        """The drawn classes of each row, int64 [n, draws]; a likely one may be drawn more than once."""
        shares = torch.softmax(scores.scatter(1, top, -torch.inf) / DRAW_TEMPERATURE, dim=1)
        cumulated = shares.cumsum(1)
        rows = torch.arange(first + 1, first + 1 + len(scores), dtype=torch.float64)
        starts = (rows * _STEP + self.epoch * _VIEW_STEP).frac()
        points = (starts[:, None] + torch.arange(self.draws, dtype=torch.float64)) / max(self.draws, 1)
        return torch.searchsorted(cumulated / cumulated[:, -1:], points, right=True).clamp_max(self.size - 1)
