"""Losses of label log-odds: each label is a Bernoulli distribution, and a row's loss the mean over its labels.

    reverse_kl = τ² · mean over labels of KL(S ‖ T)
    jsd        = τ² · mean over labels of β · KL(T ‖ M) + (1 − β) · KL(S ‖ M),   M = β · T + (1 − β) · S
    mse        = τ² · mean over labels of (student / τ − teacher / τ)²

The mean, not the sum, as in the supervised loss: summed over 40 labels they would pull 40 times as hard as mean binary
cross-entropy. Log-odds, unlike logits, have no free constant: `multilabel_mse` does not centre.
"""

from torch import Tensor

from workers.engine.losses.logits.jsd import log_mixture
from workers.engine.losses.softmax import bernoulli_log_probabilities, widened


def multilabel_reverse_kl(
    student_log_odds: Tensor, teacher_log_p: Tensor, teacher_log_q: Tensor, temperature: float | Tensor
) -> Tensor:
    """Log-odds and the teachers' softened log p and log(1 − p), all [N, L] -> [N]."""
    log_p, log_q = bernoulli_log_probabilities(widened(student_log_odds) / temperature)
    return temperature**2 * _divergence(log_p, log_q, teacher_log_p, teacher_log_q).mean(-1)


def multilabel_jsd(
    student_log_odds: Tensor, teacher_log_p: Tensor, teacher_log_q: Tensor, temperature: float | Tensor, beta: float
) -> Tensor:
    """Log-odds and the teachers' softened log p and log(1 − p), all [N, L] -> [N]; 0 < β < 1, else ValueError."""
    log_p, log_q = bernoulli_log_probabilities(widened(student_log_odds) / temperature)
    middle = log_mixture(teacher_log_p, log_p, beta), log_mixture(teacher_log_q, log_q, beta)
    of_teacher = _divergence(teacher_log_p, teacher_log_q, *middle)
    of_student = _divergence(log_p, log_q, *middle)
    return temperature**2 * (beta * of_teacher + (1.0 - beta) * of_student).mean(-1)


def multilabel_mse(
    student_log_odds: Tensor, teacher_log_p: Tensor, teacher_log_q: Tensor, temperature: float | Tensor = 1.0
) -> Tensor:
    """Squared error to the teachers' log-odds, log p − log(1 − p) of softened labels: all [N, L] -> [N]."""
    difference = widened(student_log_odds) / temperature - (teacher_log_p - teacher_log_q)
    return temperature**2 * difference.square().mean(-1)


def _divergence(log_p: Tensor, log_q: Tensor, other_log_p: Tensor, other_log_q: Tensor) -> Tensor:
    """KL of Bernoullis, label by label."""
    return log_p.exp() * (log_p - other_log_p) + log_q.exp() * (log_q - other_log_q)
