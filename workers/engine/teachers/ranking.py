"""What the scores of a class teacher know about the labels beyond its most likely class: a teacher of a rare class is
right about it and never predicts it.

Ranking: the areas under the ROC curves of each class against the rest, weighted as those of labels (`agreement`). Areas
of exclusive classes are not independent (of two classes they are equal), so the standard error of their mean is that of
a linear statistic of ranks under permuted labels: with a(c, j) what row j adds where its label is c, and d(c, j) the
same less its means over rows and over labels, its variance is Σ_c n_c Σ_j d(c, j)² / (n − 1) (Hoeffding 1951).

Likelihood: −log p of the labels, row by row, against that of the labels' own shares.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.engine.losses.softmax import softened

DEVIATIONS = 3.0
MAX_ROWS = 50_000
MAX_CLASSES = 1024
"""The commonest classes are compared."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """`area`: mean area under the ROC curves; `chance`: the largest that counts as chance; `gain`: how much likelier
    (in nats a row) the labels are by the teacher than by their shares, and `gain_error` three standard errors of it.
    """

    area: float
    chance: float
    gain: float
    gain_error: float

    @property
    def knows(self) -> bool:
        """Whether the scores rank the labels better than chance."""
        return self.area > self.chance

    @property
    def likelier(self) -> bool:
        """Whether the labels are likelier by the teacher than by their shares."""
        return self.gain > self.gain_error

    @property
    def unlikelier(self) -> bool:
        """Whether they are likelier by their shares."""
        return self.gain < -self.gain_error


def ranking_of(scores: Tensor, labels: Tensor) -> Ranking | None:
    """The ranking of labels int64 [n] by class scores [n, C]; None where all labels are the same."""
    if len(labels) > MAX_ROWS:
        rows = torch.linspace(0, len(labels) - 1, MAX_ROWS, dtype=torch.float64).long()
        scores, labels = scores[rows], labels[rows]
    counts = torch.bincount(labels, minlength=scores.shape[1])
    classes = [c for c in counts.argsort(descending=True, stable=True)[:MAX_CLASSES].tolist() if counts[c]]
    if len(classes) < 2:
        return None
    area, error = _mean_area(softened(scores.double(), 1.0).numpy(), labels.numpy(), classes)
    return Ranking(area, 0.5 + DEVIATIONS * error, *_gain(scores, labels, counts))


def _mean_area(log_p: Floats, labels: NDArray[np.int64], classes: list[int]) -> tuple[float, float]:
    """(weighted mean of the areas of `classes`, its standard error without knowledge)."""
    n = len(labels)
    gain = information = squares = 0.0
    means = np.zeros(n)
    for c in classes:
        positive = labels == c
        p = int(positive.sum())
        # the weight 12 p (n − p) / (n + 1), times what a row's rank adds to the area, 1 / (p (n − p))
        added = _centred_ranks(log_p[:, c]) * 12.0 / (n + 1)
        gain += float(added[positive].sum())
        information += 12.0 * p * (n - p) / (n + 1)
        squares += p * float(added @ added)
        means += added * (p / n)
    variance = max(squares - n * float(means @ means), 0.0) / (n - 1)
    return 0.5 + gain / information, sqrt(variance) / information


def _centred_ranks(scores: Floats) -> Floats:
    """Ranks of scores [n] less their mean; ties share theirs."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse] - (len(scores) + 1) / 2.0
    return ranks


def _gain(scores: Tensor, labels: Tensor, counts: Tensor) -> tuple[float, float]:
    """(mean gain in log-likelihood, three standard errors of it)."""
    by_teacher = softened(scores.double(), 1.0).gather(1, labels[:, None]).reshape(-1)
    by_shares = (counts[labels].double() / len(labels)).log()
    gain = by_teacher - by_shares
    return float(gain.mean()), DEVIATIONS * float(gain.std()) / sqrt(len(labels))
