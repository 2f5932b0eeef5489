"""Class by class: where the student lost against its teacher.

An accuracy that fell by one point may hide a class that is gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contracts.reports.report import ClassFigures, PerClass
from app.contracts.resources.manifests import ClassOutput
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.losses.softmax import log_probabilities

MOST_CLASSES = 100
_STUDENT, _TEACHER = "student", "teacher"


def per_class(parties: Mapping[str, PartyOutputs], labels: Tensor, most: int = MOST_CLASSES) -> tuple[PerClass, ...]:
    """Recall, precision and F1 of every party for each class; at most `most` classes.

    `parties` maps names to raw outputs [n, C] and what they mean; `student` is one of them, and `teacher` the one that
    it is compared with. `labels` is int64 [n]; rows with -1 are left out. With tp, fp, fn of a class:

        recall = tp / (tp + fn)     precision = tp / (tp + fp)     F1 = 2 tp / (2 tp + fp + fn)

    each None where its denominator is 0, so that the mean F1 over classes is `macro_f1`. The order is by the student's
    F1 minus the teacher's, the largest loss first; without a teacher by the student's F1, the lowest first. Classes
    where that is undefined come last, equal ones in the order of classes.
    """
    if _STUDENT not in parties:
        raise ValueError(f"expected a party named `{_STUDENT}`, found {sorted(parties)}")
    labelled = labels >= 0
    known = labels[labelled].cpu()
    counts = {name: _Counts.of(each.values[labelled].cpu(), each, known) for name, each in parties.items()}
    student, teacher = counts[_STUDENT].f1, counts[_TEACHER].f1 if _TEACHER in counts else None
    difference = student - teacher if teacher is not None else torch.full_like(student, torch.nan)
    order = (difference if teacher is not None else student).nan_to_num(nan=torch.inf).argsort(stable=True)
    spec = parties[_STUDENT].spec
    names = spec.classes if isinstance(spec, ClassOutput) else None
    return tuple(
        PerClass(
            index=index,
            name=names[index] if names else None,
            support=int(counts[_STUDENT].support[index]),
            parties={name: each.figures(index) for name, each in counts.items()},
            difference=_known(difference[index]),
        )
        for index in order[:most].tolist()
    )


@dataclass(frozen=True)
class _Counts:
    """Rows by class, each float64 [C]: rightly recognised, labelled so, predicted so."""

    right: Tensor
    support: Tensor
    predicted: Tensor

    @classmethod
    def of(cls, values: Tensor, answers: PartyOutputs, labels: Tensor) -> "_Counts":
        """`values` are those rows of the answers that have a label."""
        predicted, classes = log_probabilities(values, answers.spec).argmax(dim=1), values.shape[1]
        of_rows = (labels[predicted == labels], labels, predicted)
        return cls(*(torch.bincount(rows, minlength=classes).double() for rows in of_rows))

    @property
    def f1(self) -> Tensor:
        """F1 by class, NaN where the class is neither a label nor predicted."""
        return 2.0 * self.right / (self.support + self.predicted)

    def figures(self, index: int) -> ClassFigures:
        right = self.right[index]
        return ClassFigures(
            recall=_known(right / self.support[index]),
            precision=_known(right / self.predicted[index]),
            f1=_known(self.f1[index]),
        )


def _known(value: Tensor) -> float | None:
    """0 / 0 is None."""
    return None if value.isnan() else float(value)
