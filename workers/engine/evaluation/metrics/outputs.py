"""Outputs of a party (teacher, student, control), and their conversion to comparable numbers.

Teachers and students may have different outputs for the same task: logits or energies, standardised or plain values.
Everything that compares two parties converts their outputs by the functions of this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from workers.engine.losses.softmax import label_log_odds, log_probabilities
from workers.engine.losses.target_scaling import has_large_offset, own_units


@dataclass(frozen=True)
class PartyOutputs:
    """Raw outputs of one party for one task.

    `values` has shape [n, size], float32 (float64 for numbers with a large offset), on the CPU; `spec` gives their
    meaning.
    """

    values: Tensor
    spec: OutputSpec


def label_logits(values: Tensor, spec: OutputSpec) -> Tensor:
    """Log-odds of each label [n, labels]. Raises TypeError for outputs of other kinds than `multilabel`."""
    if not isinstance(spec, MultilabelOutput):
        raise TypeError(f"expected an output of kind `multilabel`, found `{spec.kind}`")
    return label_log_odds(values, spec)


def in_target_units(values: Tensor, spec: OutputSpec) -> Tensor:
    """Values in the target's units, float64: `output * std + mean`."""
    return own_units(values.double(), spec)


def is_wide(values: Tensor, spec: OutputSpec) -> bool:
    """Whether these numbers in the target's units stay float64, as float32 would round away their differences."""
    return values.dtype == torch.float64 or has_large_offset(spec)


def mean_outputs(outputs: Sequence[PartyOutputs], weights: Sequence[float]) -> PartyOutputs:
    """The weighted mean of the outputs of several teachers of a task.

    Classes and labels: mean of the probabilities at temperature 1. Values and vectors: mean in the target's units. A
    single teacher's outputs are returned as they are. Weights are normalised; their sum must not be 0.
    """
    if len(outputs) == 1:
        return outputs[0]
    shares = torch.tensor(weights, dtype=torch.float64)
    shares = shares / shares.sum()
    first = outputs[0].spec
    match first:
        case ClassOutput():
            logs = torch.stack([log_probabilities(each.values.double(), each.spec) for each in outputs])
            mean = torch.logsumexp(logs + shares.log()[:, None, None], dim=0)
            spec = ClassOutput(kind="class", output="log_probabilities", classes=first.classes)
            return PartyOutputs(mean.float(), spec)
        case MultilabelOutput():
            probabilities = torch.stack([label_logits(each.values, each.spec).double().sigmoid() for each in outputs])
            mean = torch.einsum("t,tnl->nl", shares, probabilities)
            return PartyOutputs(mean.float(), MultilabelOutput(kind="multilabel", output="probabilities"))
        case ValueOutput():
            return PartyOutputs(_mean_numbers(outputs, shares), ValueOutput(kind="value"))
        case VectorOutput():
            return PartyOutputs(_mean_numbers(outputs, shares), VectorOutput(kind="vector"))
        case _:
            assert_never(first)


def _mean_numbers(outputs: Sequence[PartyOutputs], shares: Tensor) -> Tensor:
    numbers = torch.stack([in_target_units(each.values, each.spec) for each in outputs])
    mean = torch.einsum("t,tns->ns", shares, numbers)
    return mean if any(is_wide(each.values, each.spec) for each in outputs) else mean.float()
