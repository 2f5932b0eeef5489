"""DIST (Huang, You, Wang, Qian, Xu 2022, "Knowledge distillation from a stronger teacher").

With p the softened probabilities [N, C] and ρ Pearson's correlation,

    inter = mean over rows of 1 − ρ(p_S[n, :], p_T[n, :])
    intra = mean over classes of 1 − ρ(p_S[:, c], p_T[:, c])
    dist  = τ² · (β · inter + γ · intra)

τ² as in the authors' code for classification; the paper, and their code for segmentation, have none.

A row or class that is constant has no correlation: ρ is 0 there, as with the authors' ε of 1e-8 in the denominator.
Their gradient is 1e8 times too large at a student with constant output; see `units`. With two classes ρ over a
row is ±1, so inter is 0 or 2 and has no gradient; with two rows that holds for intra.
"""

from torch import Tensor
from torch.nn.functional import softmax

from workers.engine.losses.softmax import widened
from workers.engine.losses.unit_vectors import unit_deviations


def dist(student: Tensor, teacher_log_p: Tensor, temperature: float | Tensor, beta: float, gamma: float) -> Tensor:
    """Logits [N, C] and the teachers' softened log-probabilities [N, C] -> a scalar for the whole batch.

    Fewer than two rows have no intra part; no rows give 0.
    """
    p, q = softmax(widened(student) / temperature, dim=-1), teacher_log_p.exp()
    inter = _uncorrelated(p, q).sum() / max(len(p), 1)
    if len(p) < 2:
        return temperature**2 * beta * inter
    return temperature**2 * (beta * inter + gamma * _uncorrelated(p.T, q.T).mean())


def _uncorrelated(a: Tensor, b: Tensor) -> Tensor:
    """1 − Pearson's correlation along the last dimension."""
    return 1.0 - (unit_deviations(a) * unit_deviations(b)).sum(-1)
