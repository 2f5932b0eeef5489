"""The probability mass of the classes that are not among the k largest of a row, at any temperature.

With z the scores of these n classes, relative to the largest score of the row, and s = 1 / τ,

    A(s) = log Σ exp(s · z)

is what they add to the softmax at τ. Up to log n it is the cumulant generating function of z: smooth and convex. Its
value and its slope are stored at `INVERSES`. In between it is the cubic Hermite polynomial, above them the tangent,
which is a lower bound. At the temperatures 4, 2, 1 and 0.5 nothing is lost; at others the error of A was below 0.05 for
normally distributed scores with a standard deviation of up to 3, and below 0.07 for one of 8.
"""

from math import log

import torch
from torch import Tensor

INVERSES = (0.0, 0.25, 0.5, 1.0, 2.0)
NUMBERS = 2 * len(INVERSES) - 1
"""Numbers of a row: A and its slope at each inverse, without A(0) = log n."""


def rest_numbers(scores: Tensor, kept: Tensor) -> Tensor:
    """What is stored of the classes other than `kept` (int64 [n, k]): scores [n, C] -> [n, NUMBERS].

    The powers of one exponential serve all inverses, each of which is twice the one before.
    """
    rest = scores.scatter(1, kept, -torch.inf)
    largest = rest.amax(1, keepdim=True)
    powers = ((rest - largest) * INVERSES[1]).exp()
    numbers = [scores.scatter(1, kept, 0.0).sum(1) / (scores.shape[1] - kept.shape[1])]
    for inverse in INVERSES[1:]:
        total = powers.sum(1)
        numbers += [total.log() + inverse * largest[:, 0], (powers * scores).sum(1) / total]
        powers = powers.square()
    return torch.stack(numbers, dim=1)


def log_mass(numbers: Tensor, classes: int, temperature: float | Tensor) -> Tensor:
    """A(1 / temperature) of `classes` classes with these numbers [n, NUMBERS]: [n]."""
    inverse = 1.0 / temperature
    segments = range(len(INVERSES) - 1)
    if not isinstance(inverse, Tensor):
        below = [i for i in segments if inverse < INVERSES[i + 1]]
        return _cubic(numbers, classes, below[0], inverse) if below else _tangent(numbers, inverse)
    found = _tangent(numbers, inverse)
    for i in reversed(segments):
        found = torch.where(inverse < INVERSES[i + 1], _cubic(numbers, classes, i, inverse), found)
    return found


def _node(numbers: Tensor, classes: int, i: int) -> tuple[float | Tensor, Tensor]:
    """(value, slope) of A at INVERSES[i], each [n]."""
    if i == 0:
        return log(classes), numbers[:, 0]
    return numbers[:, 2 * i - 1], numbers[:, 2 * i]


def _cubic(numbers: Tensor, classes: int, i: int, inverse: float | Tensor) -> Tensor:
    """The cubic Hermite polynomial between INVERSES[i] and INVERSES[i + 1]."""
    (low, low_slope), (high, high_slope) = _node(numbers, classes, i), _node(numbers, classes, i + 1)
    width = INVERSES[i + 1] - INVERSES[i]
    t = (inverse - INVERSES[i]) / width
    rise = t * t * (3.0 - 2.0 * t)
    bends = t * (1.0 - t) * ((1.0 - t) * low_slope - t * high_slope) * width
    return (1.0 - rise) * low + rise * high + bends


def _tangent(numbers: Tensor, inverse: float | Tensor) -> Tensor:
    return numbers[:, -2] + numbers[:, -1] * (inverse - INVERSES[-1])
