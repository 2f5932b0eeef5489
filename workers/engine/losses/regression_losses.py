"""Soft targets of values and vectors: the student's numbers against the teachers' weighted mean.

`number_formula` is where a term of the contract gets its formula.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.distillation import CosineTerm, HuberTerm, MseTerm, NumberTerm, TeacherBoundedTerm
from workers.engine.data.rows.columns import Column, ColumnLike, Rows
from workers.engine.losses.regression.cosine import cosine
from workers.engine.losses.regression.huber import number_huber
from workers.engine.losses.regression.mse import number_mse
from workers.engine.losses.regression.teacher_bounded import teacher_bounded
from workers.engine.losses.softmax import widened
from workers.engine.losses.target_scaling import has_large_offset, own_units, scale_of, standardised
from workers.engine.losses.teacher_mix import AugmentedOutputs, TeacherOutputs, column, shares
from workers.engine.losses.term import TermInputs, weighted

NumberFormula = Callable[..., Tensor]
"""(student's numbers [n, size], teachers' mean [n, size]) -> losses [n]; standardised unless the term has `own_units`.
A method that `needs_labels` takes them third: [n, size] with NaN where missing, or None where the task has none.
"""


def number_formula(term: NumberTerm) -> NumberFormula:
    """The formula of a term."""
    match term:
        case MseTerm():
            return number_mse
        case HuberTerm():
            return partial(number_huber, delta=term.delta)
        case TeacherBoundedTerm():
            return partial(teacher_bounded, margin=term.margin)
        case CosineTerm():
            return cosine
        case _:
            assert_never(term)


@dataclass(frozen=True)
class NumberTargets:
    """A term on values or vectors. `scale` (mean, deviation) is there where the method compares own units."""

    name: str
    weight: float
    counted: Tensor
    numbers: ColumnLike
    mask: Column | None
    formula: NumberFormula
    scale: tuple[Tensor, Tensor] | None
    needs_labels: bool
    labels: Column | None
    relational: bool = False
    taps: tuple[str, ...] = ()
    module: nn.Module | None = None
    row_weights: Column | None = None

    @classmethod
    def of(
        cls,
        term: NumberTerm,
        name: str,
        all_outputs: tuple[TeacherOutputs, ...],
        spec: OutputSpec,
        labels: Tensor | None,
        device: torch.device,
    ) -> "NumberTargets":
        """Averaged once for all rows: the mean of numbers does not depend on the step. `labels` [N] or [N, size]."""
        weights = shares(all_outputs)
        mean = _mean(
            [(teacher_outputs.numbers, teacher_outputs.spec) for teacher_outputs in all_outputs], weights, spec
        )
        counted = weights.sum(1) > 0
        needed = labels.reshape(len(labels), -1) if term.needs_labels and labels is not None else None
        if needed is not None:
            counted = counted & ~needed.isnan().any(1)
        return cls(
            name=name,
            weight=term.share,
            counted=counted,
            numbers=column(mean, _augmented(all_outputs, weights, spec), device),
            mask=None if bool(counted.all()) else Column.on(device, counted),
            formula=number_formula(term),
            scale=scale_of(spec, torch.empty(0, device=device)) if term.own_units else None,
            needs_labels=term.needs_labels,
            labels=None if needed is None else Column.on(device, standardised(needed, spec)),
        )

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """One loss a row [n], 0 where not counted."""
        sides = inputs.outputs, self.numbers.take(rows)
        if self.scale is not None:
            mean, deviation = self.scale
            sides = widened(sides[0]) * deviation + mean, sides[1] * deviation + mean
        if self.needs_labels:
            losses = self.formula(*sides, None if self.labels is None else self.labels.take(rows))
        else:
            losses = self.formula(*sides)
        losses = losses if self.mask is None else torch.where(self.mask.take(rows), losses, 0.0)
        return weighted(losses, self.row_weights, inputs, rows)


def _mean(outputs: Sequence[tuple[Tensor, OutputSpec]], weights: Tensor, spec: OutputSpec) -> Tensor:
    """The teachers' weighted mean [n, size], in the units of the student's output `spec`."""
    wide = any(has_large_offset(each) for each in (spec, *(each for _, each in outputs)))
    own = [_own_units(values.double() if wide else values, each) for values, each in outputs]
    mean = torch.stack([numbers * weights[:, k : k + 1] for k, numbers in enumerate(own)]).sum(0)
    return standardised(mean, spec)


def _augmented(all_outputs: tuple[TeacherOutputs, ...], weights: Tensor, spec: OutputSpec) -> AugmentedOutputs | None:
    """The same for augmented rows; outputs stored in the dataset are those of the rows without augmentation."""
    splits = [
        teacher_outputs.augmented.split for teacher_outputs in all_outputs if teacher_outputs.augmented is not None
    ]
    if not splits:
        return None
    split = splits[0]

    def of_epoch(epoch: int) -> Tensor:
        outputs = [(_dense(each, split, epoch), each.spec) for each in all_outputs]
        return _mean(outputs, weights[split], spec)

    return AugmentedOutputs(split, of_epoch)


def _dense(teacher_outputs: TeacherOutputs, split: Tensor, epoch: int) -> Tensor:
    """A teacher's outputs [n, size] for the training rows as they are augmented in an epoch."""
    if teacher_outputs.augmented is None:
        return teacher_outputs.at(split)
    outputs = teacher_outputs.augmented.of_epoch(epoch)
    assert isinstance(outputs, Tensor)
    return outputs


def _own_units(values: Tensor, spec: OutputSpec) -> Tensor:
    return own_units(widened(values).nan_to_num(), spec)
