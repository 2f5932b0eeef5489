"""A term: one loss of one task, as the loop sees it.

A term knows for which rows it is defined (`counted`) and gives one loss a row, 0 elsewhere. The loop divides the
sum by the number of counted rows of the whole batch. Targets are gathered by row; nothing here moves, trains or
remembers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from app.contracts.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput
from workers.engine.data.columns import Column, Rows
from workers.engine.data.dataset import TargetColumn
from workers.engine.objectives.soft_targets import class_kd, mixture, multilabel_kd, number_mse
from workers.engine.objectives.softening import bernoulli_log_probabilities, label_log_odds, log_probabilities, widened
from workers.engine.objectives.supervised import class_loss, multilabel_loss, squared_loss


class Term(Protocol):
    """One weighted loss of a task."""

    @property
    def name(self) -> str:
        """As it appears in metric series."""
        ...

    @property
    def weight(self) -> float:
        """What the term's mean over rows is multiplied by."""
        ...

    @property
    def counted(self) -> Tensor:
        """Bool [N] on the host: the dataset rows on which the term is defined."""
        ...

    def losses(self, outputs: Tensor, rows: Rows) -> Tensor:
        """The student's outputs [n, size] of these rows -> one loss a row [n], 0 where not counted."""
        ...


@dataclass(frozen=True)
class SupervisedLoss:
    """The loss on labels: cross-entropy, binary cross-entropy, or squared error in standardised units."""

    weight: float
    counted: Tensor
    labels: Column
    loss: Callable[[Tensor, Tensor], Tensor]
    name: str = "supervised"

    @classmethod
    def of(
        cls, target: TargetColumn, spec: OutputSpec, weight: float, smoothing: float, device: torch.device
    ) -> "SupervisedLoss":
        """For a target; `spec` is that of the student's output, whose mean and std standardise values."""
        values = target.values
        if isinstance(spec, ClassOutput):
            return cls(weight, target.labelled, Column.on(device, values), lambda o, y: class_loss(o, y, smoothing))
        if isinstance(spec, MultilabelOutput):
            return cls(weight, target.labelled, Column.on(device, values), multilabel_loss)
        numbers = values.reshape(len(values), -1)
        if isinstance(spec, ValueOutput):
            numbers = (numbers - spec.mean) / spec.std
        return cls(weight, target.labelled, Column.on(device, numbers), squared_loss)

    def losses(self, outputs: Tensor, rows: Rows) -> Tensor:
        """See `Term`."""
        return self.loss(outputs, self.labels.take(rows))


@dataclass(frozen=True)
class Lesson:
    """What one teacher says about every row: raw outputs [N, size] with NaN where it says nothing."""

    values: Tensor
    spec: OutputSpec
    weight: float
    key: str = ""

    @property
    def present(self) -> Tensor:
        """Bool [N]: the rows that the teacher speaks about."""
        return ~self.values.isnan().any(1)


@dataclass(frozen=True)
class _Panel:
    """A task's teachers together: their outputs by row, and their log-weights a row over those present."""

    outputs: tuple[Column, ...]
    log_weights: Column
    counted: Tensor

    @classmethod
    def of(cls, lessons: tuple[Lesson, ...], device: torch.device) -> "_Panel":
        present = torch.stack([lesson.present for lesson in lessons])
        weights = torch.tensor([lesson.weight for lesson in lessons])[:, None] * present
        total = weights.sum(0)
        log_weights = (weights / total.clamp_min(torch.finfo(torch.float32).tiny)).log().T.contiguous()
        columns = tuple(Column.on(device, lesson.values) for lesson in lessons)
        return cls(columns, Column.on(device, log_weights), total > 0)

    @property
    def complete(self) -> bool:
        """Whether every row has a teacher, so that no row needs masking."""
        return bool(self.counted.all())


@dataclass(frozen=True)
class SoftTargets:
    """`kd`: soften each teacher, average, τ² · KL. For class and multilabel outputs."""

    weight: float
    counted: Tensor
    temperature: float
    panel: _Panel
    specs: tuple[OutputSpec, ...]
    mask: Column | None
    name: str = "kd"

    @classmethod
    def of(cls, lessons: tuple[Lesson, ...], temperature: float, weight: float, device: torch.device) -> "SoftTargets":
        """For the lessons of a task's teachers; rows without any teacher count nothing."""
        panel = _Panel.of(lessons, device)
        mask = None if panel.complete else Column.on(device, panel.counted)
        return cls(weight, panel.counted, temperature, panel, tuple(lesson.spec for lesson in lessons), mask)

    def losses(self, outputs: Tensor, rows: Rows) -> Tensor:
        """See `Term`."""
        said = [column.take(rows).nan_to_num() for column in self.panel.outputs]
        log_weights = self.panel.log_weights.take(rows).T
        losses = self._kd(outputs, said, log_weights)
        return losses if self.mask is None else torch.where(self.mask.take(rows), losses, 0.0)

    def _kd(self, outputs: Tensor, said: list[Tensor], log_weights: Tensor) -> Tensor:
        tau = self.temperature
        if isinstance(self.specs[0], MultilabelOutput):
            pairs = [
                bernoulli_log_probabilities(label_log_odds(values, spec), tau)
                for values, spec in zip(said, self.specs, strict=True)
                if isinstance(spec, MultilabelOutput)
            ]
            yes, no = (mixture(torch.stack(side), log_weights) for side in zip(*pairs, strict=True))
            return multilabel_kd(outputs, yes, no, tau)
        log_p = [log_probabilities(values, spec, tau) for values, spec in zip(said, self.specs, strict=True)]
        return class_kd(outputs, mixture(torch.stack(log_p), log_weights), tau)


@dataclass(frozen=True)
class TeacherNumbers:
    """`mse` to the teachers' weighted mean, for value and vector outputs, in the student's standardised units."""

    weight: float
    counted: Tensor
    numbers: Column
    mask: Column | None
    name: str = "mse"

    @classmethod
    def of(cls, lessons: tuple[Lesson, ...], spec: OutputSpec, weight: float, device: torch.device) -> "TeacherNumbers":
        """Averaged once for all rows: the mean of numbers does not depend on the step."""
        panel = _Panel.of(lessons, torch.device("cpu"))
        shares = panel.log_weights.values.exp()
        mean = torch.stack([_own_units(x) * shares[:, k : k + 1] for k, x in enumerate(lessons)]).sum(0)
        if isinstance(spec, ValueOutput):
            mean = (mean - spec.mean) / spec.std
        mask = None if panel.complete else Column.on(device, panel.counted)
        return cls(weight, panel.counted, Column.on(device, mean), mask)

    def losses(self, outputs: Tensor, rows: Rows) -> Tensor:
        """See `Term`."""
        losses = number_mse(outputs, self.numbers.take(rows))
        return losses if self.mask is None else torch.where(self.mask.take(rows), losses, 0.0)


def _own_units(lesson: Lesson) -> Tensor:
    values = widened(lesson.values).nan_to_num()
    return values * lesson.spec.std + lesson.spec.mean if isinstance(lesson.spec, ValueOutput) else values
