"""Generalised Jensen-Shannon divergence (Agarwal et al. 2024, "On-policy distillation of language models", GKD).

    jsd = τ² · (β · KL(T ‖ M) + (1 − β) · KL(S ‖ M)),   M = β · T + (1 − β) · S

It is bounded by τ² · log 2 at β = ½, goes as β · KL(T ‖ S) for β -> 0 and as (1 − β) · KL(S ‖ T) for β -> 1. At 0 and 1
themselves it is 0 for every student: refused here, where TRL's GKD silently takes KL(T ‖ S) and KL(S ‖ T) instead. TRL
has no τ².
"""

from math import log

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from workers.engine.losses.softmax import widened


def jsd(student: Tensor, teacher_log_p: Tensor, temperature: float | Tensor, beta: float) -> Tensor:
    """Logits [N, C] and the teachers' softened log-probabilities [N, C] -> [N]; 0 < β < 1, else ValueError."""
    log_p = log_softmax(widened(student) / temperature, dim=-1)
    middle = log_mixture(teacher_log_p, log_p, beta)
    of_teacher = (teacher_log_p.exp() * (teacher_log_p - middle)).sum(-1)
    of_student = (log_p.exp() * (log_p - middle)).sum(-1)
    return temperature**2 * (beta * of_teacher + (1.0 - beta) * of_student)


def log_mixture(teacher_log_p: Tensor, student_log_p: Tensor, beta: float) -> Tensor:
    """log(β · T + (1 − β) · S), in log space; raises ValueError unless 0 < β < 1."""
    if not 0.0 < beta < 1.0:
        raise ValueError(f"expected 0 < beta < 1, found {beta}: at 0 and 1 the divergence is 0 for every student")
    return torch.logaddexp(teacher_log_p + log(beta), student_log_p + log(1.0 - beta))
