"""The teacher-bounded loss (Chen, Choi, Yu, Han, Chandraker 2017, "Learning efficient object detection models with
knowledge distillation").

    bounded = ‖R_S − y‖²   where ‖R_S − y‖² + m > ‖R_T − y‖²,   0 elsewhere

The teacher's numbers are no target but a bar: the student is pulled to the label until it is better than the teacher
by m. ‖·‖² is the mean over a row's numbers here, like the other losses of numbers, where the paper sums over the four
of a box; so m is in squared standardised units a number.
"""

import torch
from torch import Tensor

from workers.engine.losses.softmax import widened


def teacher_bounded(student: Tensor, teacher: Tensor, labels: Tensor | None, margin: float) -> Tensor:
    """All [N, size] -> [N]; a row with NaN among its labels gives 0 and no gradient, and so do all without labels."""
    student = widened(student)
    if labels is None:
        labels = torch.full_like(teacher, torch.nan)
    labelled = ~labels.isnan().any(1)
    target = torch.where(labelled[:, None], labels, student.detach())
    error = (student - target).square().mean(1)
    bar = (widened(teacher) - target).square().mean(1)
    return torch.where(error + margin > bar, error, 0.0)
