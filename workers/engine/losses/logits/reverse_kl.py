"""Reverse KL (Gu, Dong, Wei, Huang 2024, "MiniLLM: knowledge distillation of large language models").

    reverse_kl = τ² · Σ_c p_S(c; τ) · (log p_S(c; τ) − log p_T(c; τ))

It is mode-seeking: probability where the teacher has none is expensive, modes that the student omits are not.
MiniLLM takes it over generated sequences, by policy gradients and without τ²; here it is that of one output.
"""

from torch import Tensor
from torch.nn.functional import log_softmax

from workers.engine.losses.softmax import widened


def reverse_kl(student: Tensor, teacher_log_p: Tensor, temperature: float | Tensor) -> Tensor:
    """Logits [N, C] and the teachers' softened log-probabilities [N, C] -> [N]."""
    log_p = log_softmax(widened(student) / temperature, dim=-1)
    return temperature**2 * (log_p.exp() * (log_p - teacher_log_p)).sum(-1)
