"""Contrastive representation distillation (Tian, Krishnan, Isola 2020), with the batch's own rows as negatives.

    l(i, j) = ⟨s_i, t_j⟩ / τ  of embeddings of length 1
    crd     = ½ · mean over i of  −log softmax_j l(i, j)[i]  −log softmax_j l(j, i)[i]

Symmetric, like the paper's: the student's row finds its teacher's among those of the batch, and the other way round.
Deviations: InfoNCE over the batch where the paper has noise-contrastive estimation against thousands of negatives from
a memory bank, so small batches teach less; and the mean of both directions where the authors' code has their sum. That
code's τ is 0.07.
"""

from torch import Tensor

from workers.engine.losses.features.shapes import flat, nothing
from workers.engine.losses.softmax import widened
from workers.engine.losses.unit_vectors import unit


def info_nce(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """Embeddings of one width, [N, F] each -> a scalar for the whole batch; one row, or none, gives 0."""
    if len(student) < 2:
        return nothing(student)
    likeness = unit(widened(flat(student))) @ unit(widened(flat(teacher))).T / temperature
    own = likeness.diagonal()
    return (0.5 * (likeness.logsumexp(0) + likeness.logsumexp(1)) - own).mean()
