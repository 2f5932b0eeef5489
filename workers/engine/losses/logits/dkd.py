"""Decoupled knowledge distillation (Zhao, Cui, Song, Qiu, Liang 2022, "Decoupled knowledge distillation").

With t the label, p_t the probability of its class, and p̂ the distribution over the other classes,

    TCKD = KL((p_t, 1 − p_t) of the teacher ‖ of the student)
    NCKD = KL(p̂ of the teacher ‖ of the student)
    dkd  = τ² · (α · TCKD + β · NCKD)

and kd = τ² · (TCKD + (1 − p_t of the teacher) · NCKD): plain distillation mutes NCKD where the teacher is sure.

Deviations from the authors' code: log(1 − p_t) is a logsumexp over the other classes, where theirs takes the logarithm
of a sum of probabilities (−inf once it rounds to 0), and the label's class is left out, where theirs subtracts 1000
from its logit. Their warm-up of the weight over epochs is the caller's. With two classes NCKD is 0.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from workers.engine.losses.softmax import widened


def dkd(
    student: Tensor,
    teacher_log_p: Tensor,
    temperature: float | Tensor,
    labels: Tensor | None,
    alpha: float,
    beta: float,
) -> Tensor:
    """Logits [N, C], the teachers' softened log-probabilities [N, C], labels int64 [N] -> [N].

    A row without a label (-1) gives 0 and no gradient. Where no row can have one (None), the most probable class
    of the teachers replaces it.
    """
    if labels is None:
        labels = teacher_log_p.argmax(1)
    student_log_p = log_softmax(widened(student) / temperature, dim=-1)
    place = labels.clamp_min(0)[:, None]
    is_label = torch.arange(student.shape[1], device=labels.device) == place
    student_sides, student_others = _decoupled(student_log_p, place, is_label)
    teacher_sides, teacher_others = _decoupled(teacher_log_p, place, is_label)
    tckd = (teacher_sides.exp() * (teacher_sides - student_sides)).sum(-1)
    nckd = (teacher_others.exp() * (teacher_others - student_others)).sum(-1)
    return torch.where(labels >= 0, temperature**2 * (alpha * tckd + beta * nckd), 0.0)


def _decoupled(log_p: Tensor, place: Tensor, is_label: Tensor) -> tuple[Tensor, Tensor]:
    """(log (p_t, 1 − p_t) [N, 2], log p̂ [N, C] with 0 for the label's class, where no difference may be left)."""
    others = log_p.masked_fill(is_label, -torch.inf)
    sides = torch.cat([log_p.gather(-1, place), others.logsumexp(-1, keepdim=True)], dim=-1)
    return sides, log_softmax(others, dim=-1).masked_fill(is_label, 0.0)
