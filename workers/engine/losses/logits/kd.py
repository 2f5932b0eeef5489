"""Knowledge distillation on outputs (Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network").

    kd = τ² · Σ_c p_T(c; τ) · (log p_T(c; τ) − log p_S(c; τ))        summed over rows, divided by their number

τ² keeps the gradient's size as τ grows. Several teachers are softened first and averaged then:
p_T = Σ_k w_k softmax(z_k / τ). Everything stays in log space. Losses are a number a row; the caller sums.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from workers.engine.losses.softmax import bernoulli_log_probabilities, widened


def mixture(log_p: Tensor, log_weights: Tensor) -> Tensor:
    """Log Σ_k w_k p_k: `log_p` [K, N, …], `log_weights` [K, N] normalised a row -> [N, …]."""
    if len(log_p) == 1:
        return log_p[0]
    shaped = log_weights.reshape(*log_weights.shape, *[1] * (log_p.dim() - 2))
    return torch.logsumexp(log_p + shaped, dim=0)


def class_kd(
    student_logits: Tensor, teacher_log_p: Tensor, temperature: float | Tensor, weights: Tensor | None = None
) -> Tensor:
    """τ² · KL(teacher ‖ student) a row: logits [N, C] and the teachers' softened log-probabilities [N, C] -> [N].

    `weights` [N, C] are an estimate of the teachers' probabilities that is 0 for many classes, where not all scores are
    stored: the loss, which is linear in them, and its gradient are as right in the mean over rows as they are.
    """
    student_log_p = log_softmax(widened(student_logits) / temperature, dim=-1)
    weights = teacher_log_p.exp() if weights is None else weights
    return temperature**2 * (weights * (teacher_log_p - student_log_p)).sum(-1)


def multilabel_kd(
    student_log_odds: Tensor, teacher_log_p: Tensor, teacher_log_q: Tensor, temperature: float | Tensor
) -> Tensor:
    """τ² · Σ KL of Bernoullis, averaged over labels like the supervised loss: all [N, L] -> [N]."""
    log_p, log_q = bernoulli_log_probabilities(widened(student_log_odds), temperature)
    divergence = teacher_log_p.exp() * (teacher_log_p - log_p) + teacher_log_q.exp() * (teacher_log_q - log_q)
    return temperature**2 * divergence.mean(-1)
