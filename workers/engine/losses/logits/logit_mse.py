"""Mean squared error on logits (Ba, Caruana 2014, "Do deep nets really need to be deep?"), centred a row.

    logit_mse = τ² · mean over classes of ((z_S − mean(z_S)) − (z_T − mean(z_T)))² / τ²

The temperature cancels: the term has no such setting, and is used at τ = 1. Logits are defined up to a constant a row,
and a teacher whose outputs are log-probabilities has logits of another constant: the plain squared error punishes an
identical model for it. The paper matches logits uncentred.
"""

from torch import Tensor

from workers.engine.losses.softmax import widened


def logit_mse(student: Tensor, teacher_log_p: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Logits [N, C] and the teachers' softened log-probabilities (z_T / τ up to a constant) [N, C] -> [N]."""
    difference = widened(student) / temperature - teacher_log_p
    return temperature**2 * (difference - difference.mean(-1, keepdim=True)).square().mean(-1)
