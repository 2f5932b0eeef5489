"""Terms on values and vectors: the student's numbers against the teachers' weighted mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.contracts.resources.manifests import OutputSpec
from app.contracts.specs.distillation import CosineTerm, HuberTerm, MseTerm, TeacherBoundedTerm
from workers.engine.data.columns import Column, ColumnLike, Rows
from workers.engine.losses.regression.cosine import cosine
from workers.engine.losses.regression.huber import number_huber
from workers.engine.losses.regression.mse import number_mse
from workers.engine.losses.regression.teacher_bounded import teacher_bounded
from workers.engine.losses.softmax import widened
from workers.engine.losses.target_scaling import own_units, scale_of, standardised
from workers.engine.losses.teacher_mix import AugmentedOutputs, TeacherOutputs, column, shares
from workers.engine.losses.term import TermInputs

NumberTerm = MseTerm | HuberTerm | TeacherBoundedTerm | CosineTerm
Method = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(student [n, size], teachers' mean [n, size], labels [n, size] with NaN where missing, or None) -> [n]."""


def number_method(term: NumberTerm, spec: OutputSpec, device: torch.device) -> Method:
    """The comparison that a term names, for outputs of `spec`: in standardised units, but for angles."""
    if isinstance(term, HuberTerm):
        return lambda s, t, y: number_huber(s, t, term.delta)
    if isinstance(term, TeacherBoundedTerm):
        return lambda s, t, y: teacher_bounded(s, t, y if y is not None else torch.full_like(t, torch.nan), term.margin)
    if isinstance(term, CosineTerm):
        scale = scale_of(spec, torch.empty(0, device=device))
        if scale is not None:
            return lambda s, t, y: cosine(widened(s) * scale[1] + scale[0], t * scale[1] + scale[0])
        return lambda s, t, y: cosine(s, t)
    return lambda s, t, y: number_mse(s, t)


@dataclass(frozen=True)
class NumberTargets:
    """A term on values (in the student's standardised units) or vectors."""

    name: str
    weight: float
    counted: Tensor
    numbers: ColumnLike
    mask: Column | None
    method: Method
    labels: Column | None
    relational: bool = False
    taps: tuple[str, ...] = ()
    module: nn.Module | None = None

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
        truth = None
        if isinstance(term, TeacherBoundedTerm) and labels is not None:
            truth = labels.reshape(len(labels), -1)
            counted = counted & ~truth.isnan().any(1)
        truth = standardised(truth, spec) if truth is not None else None
        return cls(
            name=name,
            weight=term.share,
            counted=counted,
            numbers=column(mean, _augmented(all_outputs, weights, spec), device),
            mask=None if bool(counted.all()) else Column.on(device, counted),
            method=number_method(term, spec, device),
            labels=Column.on(device, truth) if truth is not None else None,
        )

    def losses(self, inputs: TermInputs, rows: Rows) -> Tensor:
        """Additive: [n], 0 where not counted. Relational: the mean over the counted rows, a scalar."""
        labels = self.labels.take(rows) if self.labels is not None else None
        losses = self.method(inputs.outputs, self.numbers.take(rows), labels)
        return losses if self.mask is None else torch.where(self.mask.take(rows), losses, 0.0)


def _mean(said: Sequence[tuple[Tensor, OutputSpec]], weights: Tensor, spec: OutputSpec) -> Tensor:
    """The teachers' weighted mean [n, size], in the units of the student's output `spec`."""
    mean = torch.stack([_own_units(*each) * weights[:, k : k + 1] for k, each in enumerate(said)]).sum(0)
    return standardised(mean, spec)


def _augmented(all_outputs: tuple[TeacherOutputs, ...], weights: Tensor, spec: OutputSpec) -> AugmentedOutputs | None:
    """The same for rows as they are seen; teachers whose outputs stand in the dataset say what they said."""
    splits = [
        teacher_outputs.augmented.split for teacher_outputs in all_outputs if teacher_outputs.augmented is not None
    ]
    if not splits:
        return None
    split = splits[0]

    def of_epoch(epoch: int) -> Tensor:
        said = [(_dense(x, split, epoch), x.spec) for x in all_outputs]
        return _mean(said, weights[split], spec)

    return AugmentedOutputs(split, of_epoch)


def _dense(teacher_outputs: TeacherOutputs, split: Tensor, epoch: int) -> Tensor:
    """What a teacher says about the training rows as they are seen in an epoch: [n, size]."""
    if teacher_outputs.augmented is None:
        return teacher_outputs.at(split)
    found = teacher_outputs.augmented.of_epoch(epoch)
    assert isinstance(found, Tensor)
    return found


def _own_units(values: Tensor, spec: OutputSpec) -> Tensor:
    return own_units(widened(values).nan_to_num(), spec)
