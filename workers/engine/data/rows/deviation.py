"""Standard deviations by which numbers are divided: 1 for a column that is constant up to the precision of its numbers.

What counts is the deviation relative to the mean, in any unit: farads and metres may have deviations of 1e-12.
"""

import numpy as np
import torch
from torch import Tensor

_OF_SUMS = 4 * float(np.finfo(np.float64).eps)
"""The mean and deviation of a constant are off by less than this share of it, computed in float64."""


def divisor(deviation: Tensor, mean: Tensor, stored: torch.dtype) -> Tensor:
    """Deviations float64 [k] of columns with these means, 1 where constant; `stored`: the type of the numbers."""
    share = max(_OF_SUMS, torch.finfo(stored).eps) if stored.is_floating_point else _OF_SUMS
    return torch.where(deviation > share * mean.abs(), deviation, 1.0)
