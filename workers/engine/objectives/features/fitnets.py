"""Hints (Romero, Ballas, Kahou, Chassang, Gatta, Bengio 2015, "FitNets: hints for thin deep nets").

    hint = mean over numbers of (projector(student) − teacher)²

The paper has ½ ‖·‖², a sum, as a first stage before distillation; as a term beside others the mean is what public
implementations use: it does not grow with the size of the features.
"""

from torch import Tensor

from workers.engine.objectives.features.shapes import matched, paired


def hint(projected_student: Tensor, teacher: Tensor) -> Tensor:
    """Features of one shape [N, ...] -> [N]; maps of different sizes are pooled to the smaller first."""
    projected, teacher = paired(*matched(projected_student, teacher))
    return (projected - teacher).square().flatten(1).mean(1)
