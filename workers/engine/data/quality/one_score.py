"""Classifiers of two classes that give one score a row: that of the second class."""

from typing import assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, OutputSpec


def two_scores(spec: OutputSpec | None, values: Tensor) -> Tensor:
    """Outputs [n, size] -> [n, size], or [n, 2] where a class output has one score a row.

    A log-odds z becomes the logits [0, z], a probability p becomes [1 - p, p]: the same distribution. Other outputs are
    returned as they are.
    """
    if not isinstance(spec, ClassOutput) or values.shape[1] != 1:
        return values
    match spec.output:
        case "logits":
            return torch.cat([torch.zeros_like(values), values], dim=1)
        case "probabilities":
            return torch.cat([1.0 - values, values], dim=1)
        case "log_probabilities" | "energies":
            return values
        case _:
            assert_never(spec.output)
