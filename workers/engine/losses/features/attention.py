"""Attention transfer (Zagoruyko, Komodakis 2017, "Paying more attention to attention").

    Q  = mean over channels of A²,  flattened to [H·W]
    at = mean over places of (Q_S / ‖Q_S‖ − Q_T / ‖Q_T‖)²

As in the authors' code, whose weights (1000 and the like) belong to this scale. The paper's equation (2) has the norm
of the difference, not squared, summed over layers and halved; its Q is a sum over channels, which the division by
‖Q‖ makes the same. A map of zeros has no attention: its Q stays 0, and its gradient finite.
"""

from torch import Tensor

from workers.engine.losses.features.shapes import matched
from workers.engine.losses.softmax import widened
from workers.engine.losses.unit_vectors import unit


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Maps [N, C, H, W] and [N, D, h, w] -> [N]; channels may differ, sizes are brought to the smaller.

    Raises ValueError for features that are no maps.
    """
    if student.dim() != 4 or teacher.dim() != 4:
        raise ValueError(f"expected maps [N, C, H, W], found {tuple(student.shape)} and {tuple(teacher.shape)}")
    ours, theirs = (_attention(maps) for maps in matched(student, teacher))
    return (ours - theirs).square().mean(-1)


def _attention(maps: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H·W] of length 1."""
    return unit(widened(maps).square().mean(1).flatten(1))
