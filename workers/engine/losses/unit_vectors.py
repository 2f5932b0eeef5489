"""Vectors at length 1, and what to do with those that have no direction.

`v / (‖v‖ + ε)` is finite at a vector of zeros, but its gradient there is 1/ε: 1e12 for torch's `normalize`. A head that
starts at zero would be thrown far off by its first step. Here such a vector is divided by 1 instead.
"""

import torch
from torch import Tensor


def unit(vectors: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Vectors divided by their length, v / ‖v‖ along the last dimension, [..., F] -> [..., F].

    Those no longer than `noise` (one number, or [..., 1]) come back as they are, and so does their gradient.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > noise, length, 1.0)


def unit_deviations(vectors: Tensor) -> Tensor:
    """Deviations from the mean at length 1, d / ‖d‖ with d = v − mean(v), [..., F] -> [..., F].

    The product of two of them is Pearson's correlation. A vector that is constant up to rounding has none: it
    becomes zeros (up to rounding), not its own rounding errors blown up to length 1.
    """
    noise = 8.0 * torch.finfo(vectors.dtype).eps * torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return unit(vectors - vectors.mean(-1, keepdim=True), noise)
