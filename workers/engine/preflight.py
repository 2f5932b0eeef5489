"""Before any step: does a teacher know the labels, and does it count the classes in the same order?

Chance is what a teacher would reach whose answers have nothing to do with the labels but keep their shares:
p_e = Σ_c P(label = c) · P(answer = c) (Cohen 1960). A teacher within three standard errors of it is at chance.
"""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from app.contracts.events import ChildEvent, WarningEvent
from app.contracts.manifests import ClassOutput
from app.contracts.problems import UserError
from workers.engine.data.dataset import TargetColumn
from workers.engine.objectives.panel import Lesson
from workers.engine.objectives.softening import class_scores

DEVIATIONS = 3.0


def confusion(lesson: Lesson, target: TargetColumn, rows: Tensor) -> Tensor:
    """Counts [C, C]: row is the label, column the teacher's answer, on labelled `rows` of a class task."""
    assert isinstance(lesson.spec, ClassOutput)
    known = rows[target.labelled[rows] & lesson.present[rows]]
    labels = target.values[known]
    answers = class_scores(lesson.at(known), lesson.spec).argmax(1)
    return torch.bincount(labels * target.size + answers, minlength=target.size**2).reshape(target.size, target.size)


def chance(counts: Tensor) -> tuple[float, float]:
    """(accuracy, accuracy that is still at chance level)."""
    total = float(counts.sum())
    expected = float((counts.sum(0) / total) @ (counts.sum(1) / total))
    accuracy = float(counts.diagonal().sum()) / total
    return accuracy, expected + DEVIATIONS * sqrt(expected * (1.0 - expected) / total)


def swapped_classes(counts: Tensor) -> list[tuple[int, int]]:
    """Pairs of classes that fit better exchanged: the teacher may count its classes in another order."""
    crossed = counts + counts.T
    straight = counts.diagonal()[:, None] + counts.diagonal()[None, :]
    pairs = (torch.triu(crossed, 1) > straight).nonzero().tolist()
    return [(int(a), int(b)) for a, b in pairs]


def check_teacher(
    task: str,
    name: str,
    lesson: Lesson,
    target: TargetColumn | None,
    train: Tensor,
    allow_chance: bool,
    emit: Callable[[ChildEvent], None],
) -> None:
    """Raises UserError `teacher_mismatch`; warns `class_order_suspected`. Only class tasks with labels can tell."""
    if target is None or target.kind != "class" or not isinstance(lesson.spec, ClassOutput):
        return
    counts = confusion(lesson, target, train)
    if int(counts.sum()) == 0:
        return
    accuracy, at_chance = chance(counts)
    if accuracy <= at_chance and not allow_chance:
        raise UserError(
            "teacher_mismatch",
            f"teacher `{name}` is right on {accuracy:.1%} of the training labels of `{task}`, which is chance level "
            f"(up to {at_chance:.1%}): check its `inputs` and the order of classes, or set "
            "`distillation.allow_chance_teacher`",
        )
    pairs = swapped_classes(counts)
    if pairs:
        shown = ", ".join(f"{a} and {b}" for a, b in pairs[:5])
        emit(
            WarningEvent(
                code="class_order_suspected",
                message=f"teacher `{name}` agrees better with the labels of `{task}` when classes {shown} are "
                "exchanged: check the order of its classes",
            )
        )
