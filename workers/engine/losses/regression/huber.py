"""Huber's loss to the teacher's numbers (Huber 1964, "Robust estimation of a location parameter").

    huber = mean over numbers of  ½ d²  where |d| ≤ δ,  δ · (|d| − δ/2)  elsewhere,   d = student − teacher

Half the squared error near the teacher; a teacher that is far off on a row pulls no harder than δ. In standardised
units, so δ counts standard deviations.
"""

from torch import Tensor
from torch.nn.functional import huber_loss

from workers.engine.losses.softmax import widened


def number_huber(student: Tensor, teacher: Tensor, delta: float) -> Tensor:
    """Both [N, size] -> [N]."""
    return huber_loss(widened(student), widened(teacher), reduction="none", delta=delta).mean(-1)
