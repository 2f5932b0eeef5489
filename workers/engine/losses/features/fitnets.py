"""Hints (Romero, Ballas, Kahou, Chassang, Gatta, Bengio 2015, "FitNets: hints for thin deep nets").

    hint = mean over numbers of (projector(student) − teacher)²

The paper has ½ ‖·‖², a sum, as a first stage before distillation; as a term beside others the mean is what public
implementations use: it does not grow with the size of the features.

Of unit length (Li, Bilen 2020, "Knowledge distillation for multi-task learning"), with a projector for each task:

    unit hint = ‖projector(student)/‖projector(student)‖ − teacher/‖teacher‖‖²
"""

import torch
from torch import Tensor

from workers.engine.losses.features.shapes import matched, of_tokens, paired
from workers.engine.models.taps import mean_of_tokens


def hint(projected_student: Tensor, teacher: Tensor, tokens: Tensor | None = None) -> Tensor:
    """Features of one shape [N, ...] -> [N]; maps of different sizes are pooled to the smaller first. `tokens`: bool
    [N, T], over which places of [N, T, D] the mean is taken.
    """
    projected, teacher = paired(*matched(projected_student, teacher))
    differences = (projected - teacher).square()
    return differences.flatten(1).mean(1) if tokens is None else mean_of_tokens(differences.mean(2), tokens)


def unit_hint(projected_student: Tensor, teacher: Tensor, tokens: Tensor | None = None) -> Tensor:
    """The same of unit vectors, summed: [N, ...] -> [N], between 0 and 4. A row of zeros stays zeros, unmoved. Places
    of [N, T, D] that are no `tokens` count as zeros.
    """
    projected, teacher = (of_tokens(side, tokens).flatten(1) for side in paired(*matched(projected_student, teacher)))
    return (_unit(projected) - _unit(teacher)).square().sum(1)


def _unit(vectors: Tensor) -> Tensor:
    squared = vectors.square().sum(1, keepdim=True)
    nonzero = squared > 0.0
    return vectors * torch.where(nonzero, torch.where(nonzero, squared, 1.0).rsqrt(), 0.0)
