"""Similarity-preserving distillation (Tung, Mori 2019, "Similarity-preserving knowledge distillation").

    G  = F · Fᵀ  [b, b],  each row divided by its length
    sp = ‖G_S − G_T‖² / b²     (Frobenius)

Widths and kinds of features may differ: only the similarities between rows of the batch are compared.
"""

from torch import Tensor

from workers.engine.losses.features.shapes import flat, nothing
from workers.engine.losses.softmax import widened
from workers.engine.losses.unit_vectors import unit


def similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """Features [N, ...] of any two shapes -> a scalar for the whole batch; one row, or none, gives 0."""
    if len(student) < 2:
        return nothing(student)
    return (_similarities(student) - _similarities(teacher)).square().mean()


def _similarities(features: Tensor) -> Tensor:
    vectors = widened(flat(features))
    return unit(vectors @ vectors.T)
