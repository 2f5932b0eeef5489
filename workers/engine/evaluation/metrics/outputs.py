"""What a party (teacher, student, control) said about rows, and the one reading of it for every measure.

Teachers and students may speak differently about the same task: logits or energies, standardised values or
plain ones. Everything that compares two of them reads both through the functions of this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from workers.engine.losses.softmax import label_log_odds, log_probabilities
from workers.engine.losses.target_scaling import own_units


@dataclass(frozen=True)
class PartyOutputs:
    """Raw outputs of one party for one task.

    `values` has shape [n, size], float32, on the CPU; `spec` says what the numbers mean.
    """

    values: Tensor
    spec: OutputSpec


def label_logits(values: Tensor, spec: OutputSpec) -> Tensor:
    """Log-odds of each label, shape [n, labels]; raises TypeError where the output is not of kind `multilabel`."""
    if not isinstance(spec, MultilabelOutput):
        raise TypeError(f"expected an output of kind `multilabel`, found `{spec.kind}`")
    return label_log_odds(values, spec)


def in_own_units(values: Tensor, spec: OutputSpec) -> Tensor:
    """Numbers in the target's own units, float64: `output * std + mean`."""
    return own_units(values.double(), spec)


def mean_answers(answers: Sequence[PartyOutputs], weights: Sequence[float]) -> PartyOutputs:
    """The weighted mean of several teachers of one task, as one teacher.

    Classes and labels: mean of probabilities at temperature 1 (soften, then average). Values and vectors: mean in
    the target's own units. One teacher alone is handed on as it is. Weights need not sum to 1, but not to 0.
    """
    if len(answers) == 1:
        return answers[0]
    shares = torch.tensor(weights, dtype=torch.float64)
    shares = shares / shares.sum()
    first = answers[0].spec
    match first:
        case ClassOutput():
            logs = torch.stack([log_probabilities(a.values.double(), a.spec) for a in answers])
            mean = torch.logsumexp(logs + shares.log()[:, None, None], dim=0)
            spec = ClassOutput(kind="class", output="log_probabilities", classes=first.classes)
            return PartyOutputs(mean.float(), spec)
        case MultilabelOutput():
            chances = torch.stack([label_logits(a.values, a.spec).double().sigmoid() for a in answers])
            mean = torch.einsum("t,tnl->nl", shares, chances)
            return PartyOutputs(mean.float(), MultilabelOutput(kind="multilabel", output="probabilities"))
        case ValueOutput():
            return PartyOutputs(_mean_numbers(answers, shares), ValueOutput(kind="value"))
        case VectorOutput():
            return PartyOutputs(_mean_numbers(answers, shares), VectorOutput(kind="vector"))
        case _:
            assert_never(first)


def _mean_numbers(answers: Sequence[PartyOutputs], shares: Tensor) -> Tensor:
    numbers = torch.stack([in_own_units(a.values, a.spec) for a in answers])
    return torch.einsum("t,tns->ns", shares, numbers).float()
