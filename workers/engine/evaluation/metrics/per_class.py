"""Recall, precision and F1 by class: an accuracy that is one point lower may hide a class that is never predicted."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.reports.report import ClassFigures, PerClass
from app.contracts.resources.manifests import ClassOutput
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.losses.softmax import log_probabilities

MAX_CLASSES = 100
_STUDENT, _TEACHER = "student", "teacher"


def per_class(
    parties: Mapping[str, PartyOutputs], labels: Tensor, maximum: int = MAX_CLASSES, *, overlap: bool = False
) -> tuple[PerClass, ...]:
    """Recall, precision and F1 of every party for each class; at most `maximum` classes.

    `parties` maps names to raw outputs [n, C]; `student` must be one of them, and is compared with `teacher`. `labels`
    is int64 [n]; rows with -1 are ignored. With tp, fp, fn of a class:

        recall = tp / (tp + fn)     precision = tp / (tp + fp)     F1 = 2 tp / (2 tp + fp + fn)

    and IoU = tp / (tp + fp + fn) with `overlap`, each None where its denominator is 0; the mean F1 over classes is
    `macro_f1`. A teacher is measured on the rows that it has outputs for. Classes are sorted by the student's F1
    minus the teacher's on those rows, without a teacher by the student's F1, in ascending order; undefined ones come
    last.
    """
    if _STUDENT not in parties:
        raise ValueError(f"expected a party named `{_STUDENT}`, found {sorted(parties)}")
    counts = {name: _Counts.of(each, labels, each.positions) for name, each in parties.items()}
    student, teacher = counts[_STUDENT].f1, parties.get(_TEACHER)
    difference = torch.full_like(student, torch.nan)
    if teacher is not None:
        difference = _Counts.of(parties[_STUDENT], labels, teacher.positions).f1 - counts[_TEACHER].f1
    order = (difference if teacher is not None else student).nan_to_num(nan=torch.inf).argsort(stable=True)
    spec = parties[_STUDENT].spec
    names = spec.classes if isinstance(spec, ClassOutput) else None
    return tuple(
        PerClass(
            index=index,
            name=names[index] if names else None,
            support=int(counts[_STUDENT].support[index]),
            parties={name: each.figures(index, overlap=overlap) for name, each in counts.items()},
            difference=_defined(difference[index]),
        )
        for index in order[:maximum].tolist()
    )


@dataclass(frozen=True)
class _Counts:
    """Numbers of rows by class, float64 [C] each: true positives, labels, predictions."""

    true_positives: Tensor
    support: Tensor
    predicted: Tensor

    @classmethod
    def of(cls, outputs: PartyOutputs, labels: Tensor, rows: Tensor) -> "_Counts":
        """Over the labelled ones of `rows`, int64 [m]."""
        rows = rows[labels[rows].cpu() >= 0]
        labels, values = labels[rows].cpu(), outputs.values[rows].cpu().double()
        predicted, classes = log_probabilities(values, outputs.spec).argmax(dim=1), values.shape[1]
        by_row = (labels[predicted == labels], labels, predicted)
        return cls(*(torch.bincount(each, minlength=classes).double() for each in by_row))

    @property
    def f1(self) -> Tensor:
        """F1 by class, NaN where the class is neither a label nor predicted."""
        return 2.0 * self.true_positives / (self.support + self.predicted)

    @property
    def iou(self) -> Tensor:
        """Intersection over union by class, NaN where the class is neither a label nor predicted."""
        return self.true_positives / (self.support + self.predicted - self.true_positives)

    def figures(self, index: int, *, overlap: bool) -> ClassFigures:
        true_positives = self.true_positives[index]
        return ClassFigures(
            recall=_defined(true_positives / self.support[index]),
            precision=_defined(true_positives / self.predicted[index]),
            f1=_defined(self.f1[index]),
            iou=_defined(self.iou[index]) if overlap else None,
        )


def _defined(value: Tensor) -> float | None:
    """None for NaN, which is 0 / 0."""
    return None if value.isnan() else float(value)
