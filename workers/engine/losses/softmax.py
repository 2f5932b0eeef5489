"""Outputs of any kind as (softened) log-probabilities, always in log space and in float32 or wider."""

from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec

FLOOR = 1e-12
"""Probabilities of exactly 0 are raised to this before their logarithm is taken."""


def widened(values: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; float32 and float64 as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def class_scores(values: Tensor, spec: ClassOutput) -> Tensor:
    """Numbers whose softmax is the prediction: logits and log-probabilities as they are, energies negated,
    probabilities by their logarithm. Shape [N, C] -> [N, C].
    """
    values = widened(values)
    match spec.output:
        case "logits" | "log_probabilities":
            return values
        case "probabilities":
            return values.clamp_min(FLOOR).log()
        case "energies":
            return -values
        case _:
            assert_never(spec.output)


def softened(scores: Tensor, temperature: float | Tensor) -> Tensor:
    """Log softmax(scores / τ): [N, C] -> [N, C]."""
    return log_softmax(scores / temperature, dim=-1)


def log_probabilities(values: Tensor, spec: OutputSpec, temperature: float | Tensor = 1.0) -> Tensor:
    """Log softmax(scores / temperature) of class outputs, [N, C] -> [N, C] (Hinton et al. 2015).

    Logits z: p = softmax(z / τ). Energies E: p = softmax(-E / τ). Probabilities and log-probabilities are
    softened as the logits that they come from: log p and z differ by a constant a row, which softmax ignores.
    Raises TypeError for outputs that are not of kind `class`.
    """
    if not isinstance(spec, ClassOutput):
        raise TypeError(f"expected an output of kind `class`, found `{spec.kind}`")
    return softened(class_scores(values, spec), temperature)


def label_log_odds(values: Tensor, spec: MultilabelOutput) -> Tensor:
    """Log-odds of each label, [N, L] -> [N, L]; probabilities of exactly 0 and 1 stay finite."""
    values = widened(values)
    match spec.output:
        case "logits":
            return values
        case "probabilities":
            return torch.logit(values, eps=1e-7)
        case _:
            assert_never(spec.output)


def bernoulli_log_probabilities(log_odds: Tensor, temperature: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """(log p, log(1 - p)) of softened labels, each [N, L]."""
    softened = log_odds / temperature
    return logsigmoid(softened), logsigmoid(-softened)
