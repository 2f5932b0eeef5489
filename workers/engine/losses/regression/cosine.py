"""Cosine distance to the teacher's vector, as for sentence and image embeddings.

    cosine = 1 − ⟨s, t⟩ / (‖s‖ · ‖t‖)

The length is free. A vector of zeros has no direction: its distance is 1 to all, and its gradient stays finite.
"""

from torch import Tensor

from workers.engine.losses.softmax import widened
from workers.engine.losses.unit_vectors import unit


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Both [N, size] -> [N], between 0 (same direction) and 2 (opposite)."""
    return 1.0 - (unit(widened(student)) * unit(widened(teacher))).sum(-1)
