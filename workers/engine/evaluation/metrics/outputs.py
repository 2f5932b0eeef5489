"""Outputs of a party (teacher, student, control), and their conversion to comparable numbers.

Teachers and students may have different outputs for the same task: logits or energies, standardised or plain values.
Everything that compares two parties converts their outputs by the functions of this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, assert_never

import torch
from torch import Tensor

from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    PositionOutput,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from workers.engine.losses.softmax import label_log_odds, log_probabilities
from workers.engine.losses.target_scaling import predicted_numbers


@dataclass(frozen=True)
class PartyOutputs:
    """Raw outputs of one party for one task.

    `values` has shape [n, size], float32 (float64 for numbers with a large offset), on the CPU; `spec` gives their
    meaning. `known`: bool [n], the rows that the party has outputs for; None: all of them.
    """

    values: Tensor
    spec: OutputSpec
    known: Tensor | None = None

    @classmethod
    def of_teacher(cls, values: Tensor, spec: OutputSpec) -> Self:
        """The outputs of a teacher, whose rows of NaN are those that it has no output for."""
        missing = values.flatten(1).isnan().any(dim=1)
        return cls(values, spec, ~missing if bool(missing.any()) else None)

    def of_positions(self, chosen: Tensor) -> "PartyOutputs":
        """The outputs of some positions, bool [n, positions], each as those of a row of its own.

        Raises TypeError for outputs that are not of positions.
        """
        if not isinstance(self.spec, PositionOutput):
            raise TypeError(f"expected an output of kind `token_class` or `map`, found `{self.spec.kind}`")
        known = None if self.known is None else self.known[:, None].expand(chosen.shape)[chosen]
        return PartyOutputs(self.values[chosen], self.spec.of_a_position, known)

    @property
    def positions(self) -> Tensor:
        """The rows that the party has outputs for, int64 [m]."""
        return torch.arange(len(self.values)) if self.known is None else self.known.nonzero().reshape(-1)

    def at(self, positions: Tensor) -> Self:
        """The outputs for some of the rows, int64 [m]."""
        return replace(self, values=self.values[positions], known=None if self.known is None else self.known[positions])


def label_logits(values: Tensor, spec: OutputSpec) -> Tensor:
    """Log-odds of each label [n, labels], float64. Raises TypeError for outputs of other kinds than `multilabel`."""
    if not isinstance(spec, MultilabelOutput):
        raise TypeError(f"expected an output of kind `multilabel`, found `{spec.kind}`")
    return label_log_odds(values.double(), spec)


def in_target_units(values: Tensor, spec: OutputSpec) -> Tensor:
    """`predicted_numbers` as float64. Figures are computed from what a predictions file has, so that they can be
    recomputed from it.
    """
    return predicted_numbers(values, spec).double()


def mean_outputs(outputs: Sequence[PartyOutputs], weights: Sequence[float]) -> PartyOutputs:
    """The weighted mean of the outputs of several teachers of a task.

    Classes and labels: mean of the probabilities at temperature 1. Values and vectors: mean in the target's units. A
    single teacher's outputs are returned as they are. Weights are normalised over the teachers that have outputs for a
    row, as in training; a row without any is NaN. The sum of all weights must not be 0.
    """
    if len(outputs) == 1:
        return outputs[0]
    shares, known = _shares(outputs, weights)
    mean = _mean(outputs, shares)
    if known is None:
        return mean
    return PartyOutputs(torch.where(known[:, None], mean.values, torch.nan), mean.spec, known)


def _shares(outputs: Sequence[PartyOutputs], weights: Sequence[float]) -> tuple[Tensor, Tensor | None]:
    """(the share of each teacher on each row, float64 [teachers, n]; the rows that any teaches, None: all)."""
    every_row = torch.ones(len(outputs[0].values), dtype=torch.bool)
    present = torch.stack([every_row if each.known is None else each.known for each in outputs])
    weighted = torch.tensor(weights, dtype=torch.float64)[:, None] * present
    total = weighted.sum(dim=0)
    known = total > 0.0
    return weighted / torch.where(known, total, 1.0), None if bool(known.all()) else known


def _mean(outputs: Sequence[PartyOutputs], shares: Tensor) -> PartyOutputs:
    """The mean by `shares` [teachers, n]; any numbers on rows without a teacher."""
    first = outputs[0].spec
    match first:
        case ClassOutput():
            logs = torch.stack([log_probabilities(each.values.double(), each.spec).nan_to_num() for each in outputs])
            mean = torch.logsumexp(logs + shares.log()[:, :, None], dim=0)
            spec = ClassOutput(kind="class", output="log_probabilities", classes=first.classes)
            return PartyOutputs(mean.float(), spec)
        case TokenClassOutput() | MapOutput():
            raise TypeError("tokens and pixels have one teacher, as resolved")
        case MultilabelOutput():
            probabilities = torch.stack([label_logits(each.values, each.spec).sigmoid() for each in outputs])
            mean = torch.einsum("tn,tnl->nl", shares, probabilities.nan_to_num())
            return PartyOutputs(mean.float(), MultilabelOutput(kind="multilabel", output="probabilities"))
        case ValueOutput():
            return PartyOutputs(_mean_numbers(outputs, shares), ValueOutput(kind="value"))
        case VectorOutput():
            return PartyOutputs(_mean_numbers(outputs, shares), VectorOutput(kind="vector"))
        case _:
            assert_never(first)


def _mean_numbers(outputs: Sequence[PartyOutputs], shares: Tensor) -> Tensor:
    numbers = [predicted_numbers(each.values, each.spec) for each in outputs]
    mean = torch.einsum("tn,tns->ns", shares, torch.stack([each.double() for each in numbers]).nan_to_num())
    return mean if any(each.dtype == torch.float64 for each in numbers) else mean.float()
