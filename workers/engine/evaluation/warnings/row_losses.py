"""The loss of each row, by which two parties are compared on the same rows."""

from math import sqrt
from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from workers.engine.evaluation.metrics.outputs import PartyOutputs, in_target_units, label_logits
from workers.engine.losses.softmax import log_probabilities


def row_losses(party: PartyOutputs, labels: Tensor) -> Tensor:
    """−log p of a class, the mean of −log p over the known labels, tokens or pixels, or the mean squared error:
    float64 [n]. `labels` are those of a target column for the same rows, each with a label.
    """
    values, spec = party.values, party.spec
    match spec.kind:
        case "class":
            return -log_probabilities(values.double(), spec).gather(1, labels[:, None]).reshape(-1)
        case "token_class" | "map":
            tagged = labels >= 0
            log_p = values.double().log_softmax(2).gather(2, labels.clamp_min(0).long()[:, :, None])[:, :, 0]
            return (-log_p * tagged).sum(1) / tagged.sum(1)
        case "multilabel":
            known = ~labels.isnan()
            truth = torch.where(known, labels, 0.0).double()
            losses = binary_cross_entropy_with_logits(label_logits(values, spec).double(), truth, reduction="none")
            return (losses * known).sum(1) / known.sum(1)
        case "value" | "vector":
            errors = in_target_units(values, spec).reshape(len(labels), -1) - labels.double().reshape(len(labels), -1)
            return errors.square().mean(1)
        case _:
            assert_never(spec.kind)


def is_above_zero(differences: Tensor, deviations: float) -> bool:
    """Whether the mean of differences [n] is more than so many of its standard errors above 0; n = 1: False."""
    if len(differences) < 2:
        return False
    return float(differences.mean()) > deviations * float(differences.std()) / sqrt(len(differences))
