"""OFA-KD (Hao, Guo, Han, Tang, Hu, Wang, Xu 2023, "One-for-all: bridge the gap between heterogeneous architectures in
knowledge distillation").

Layers of unlike networks cannot be compared, so each layer of the student predicts the classes through a branch of its
own (`features/exits.py`), and every prediction learns from the teacher's output. With t the label, p_T and p_S the
probabilities of teacher and prediction,

    ofa = −(1 + p_T(t))^γ · log p_S(t) − Σ_{c ≠ t} p_T(c) · log p_S(c)        summed over the branches and the output

(the paper writes the sum over the other classes as an expectation; its code has the sum). With γ = 1 it is the
cross-entropy with the label plus that with the teacher; a larger γ gives the label more weight where the teacher is
sure of it.

With w the factors of log p_S and W their sum, what is computed is W · KL(w / W ‖ p_S): ofa less its minimum, with the
same gradient, and 0 where no prediction can be better.

Deviations: a row without a label has no t, and w = p_T: kd at temperature 1. There is no other temperature, as a label
would not be softened by it, and its part of the gradient would grow beside the teacher's; the paper has 1 as well. The
authors' code leaves out one log p_S(t), as it adds a cross-entropy with the label at another place, and raises the
other p_T(c) to the power of γ too, which the paper's equation does not.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from workers.engine.losses.softmax import widened


def ofa(
    student: Tensor, teacher_log_p: Tensor, temperature: float | Tensor, labels: Tensor | None, gamma: float
) -> Tensor:
    """Logits [N, C] of one prediction, the teachers' log-probabilities [N, C], labels int64 [N] -> [N].

    Labels are -1 where missing, or None where no row can have one. `temperature` is 1.
    """
    log_weights = teacher_log_p
    if labels is not None:
        is_label = torch.arange(student.shape[1], device=labels.device) == labels[:, None]
        log_weights = torch.where(is_label, gamma * teacher_log_p.exp().log1p(), teacher_log_p)
    best_log_p = log_softmax(log_weights, dim=-1)
    student_log_p = log_softmax(widened(student) / temperature, dim=-1)
    return (log_weights.exp() * (best_log_p - student_log_p)).sum(-1)
