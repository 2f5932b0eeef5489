"""Before any step: does a teacher know the labels, and does it count the classes in the same order?

Chance is what a teacher would reach whose answers have nothing to do with the labels but keep their shares:
p_e = Σ_c P(label = c) · P(answer = c) (Cohen 1960). A teacher within three standard errors of it is at chance.

The order is suspected where another assignment of the teacher's classes to the labels' agrees better. To pure noise
some other order always agrees better, so a teacher at chance is suspected only where it gains more than noise does:
with b rows won and c rows lost by an order that moves m of C classes, where b − c > √(2 (b + c) ln(1000 C!/(C − m)!)),
by Hoeffding's bound over all orders that move as many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma, log, sqrt

import numpy as np
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ClassOutput
from app.contracts.wire.events import ChildEvent, WarningEvent
from workers.engine.data.dataset import TargetColumn
from workers.engine.losses.softmax import class_scores
from workers.engine.losses.teacher_mix import TeacherOutputs

DEVIATIONS = 3.0
MOST_CLASSES = 1024
"""The largest number of classes for which another order is looked for. SciPy's solver is O(n³): 1024 classes take it
0.03 s on common counts and 2 s on the products of two margins, 4096 classes 0.6 s and 60 s.
"""
_FALSE_ALARMS = 1e-3
_SHOWN = 5


@dataclass(frozen=True)
class Score:
    """A teacher against the labels of a class task.

    `chance` is the accuracy up to which it is at chance level. `order` has for each class of the labels the teacher's
    that fits best, None where their own order does (or nobody looked: above MOST_CLASSES classes).
    """

    rows: int
    accuracy: float
    chance: float
    order: tuple[int, ...] | None = None
    accuracy_in_order: float | None = None

    @property
    def at_chance(self) -> bool:
        """Whether it is no better than chance."""
        return self.accuracy <= self.chance


def answers(teacher_outputs: TeacherOutputs, target: TargetColumn, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(labels, the teacher's answers), int64 [n] each, on the labelled `rows` of a class task that it speaks about."""
    assert isinstance(teacher_outputs.spec, ClassOutput)
    known = rows[target.labelled[rows] & teacher_outputs.present[rows]]
    return target.values[known], class_scores(teacher_outputs.at(known), teacher_outputs.spec).argmax(1)


def chance(labels: Tensor, said: Tensor, classes: int) -> float:
    """The accuracy that is still at chance level, for labels and answers int64 [n], n > 0."""
    of_labels, of_answers = (torch.bincount(each, minlength=classes).double() / len(each) for each in (labels, said))
    expected = float(of_labels @ of_answers)
    return expected + DEVIATIONS * sqrt(expected * (1.0 - expected) / len(labels))


def score(teacher_outputs: TeacherOutputs, target: TargetColumn | None, rows: Tensor) -> Score | None:
    """How a teacher does on the labels of `rows`; None where it cannot be told: only class tasks with labels can."""
    if target is None or target.kind != "class" or not isinstance(teacher_outputs.spec, ClassOutput):
        return None
    labels, said = answers(teacher_outputs, target, rows)
    if len(labels) == 0:
        return None
    found = Score(len(labels), float((labels == said).double().mean()), chance(labels, said, target.size))
    return found if target.size > MOST_CLASSES else _with_order(found, labels, said, target.size)


def best_assignment(counts: Tensor) -> tuple[int, ...]:
    """The permutation p that maximises Σ_i counts[i, p(i)], for integer counts [n, n] of at most MOST_CLASSES rows.

    Of several best ones it keeps most rows in their own column. Raises ValueError for other shapes.
    """
    from scipy.optimize import linear_sum_assignment  # imported where it is used: the fork server imports this module

    n = len(counts)
    if counts.shape != (n, n) or n > MOST_CLASSES:
        raise ValueError(f"expected a square matrix of at most {MOST_CLASSES} rows, found {list(counts.shape)}")
    # Counts are multiplied by n + 1, so that the bonuses of the diagonal, n at most, only decide between equals.
    benefits = counts.numpy() * (n + 1) + np.eye(n)
    _, columns = linear_sum_assignment(benefits, maximize=True)
    return tuple(columns.tolist())


def _with_order(found: Score, labels: Tensor, said: Tensor, classes: int) -> Score:
    counts = torch.bincount(labels * classes + said, minlength=classes**2).reshape(classes, classes)
    order = best_assignment(counts)
    places = torch.tensor(order)
    moved = int((places != torch.arange(classes)).sum())
    won = int(((places[labels] == said) & (labels != said)).sum())
    lost = int(((places[labels] != said) & (labels == said)).sum())
    if moved == 0 or (found.at_chance and not _beyond_noise(won, lost, classes, moved)):
        return found
    return Score(found.rows, found.accuracy, found.chance, order, found.accuracy + (won - lost) / found.rows)


def _beyond_noise(won: int, lost: int, classes: int, moved: int) -> bool:
    """Whether such a gain is beyond what the best of all orders that move as many classes has by noise."""
    orders = lgamma(classes + 1) - lgamma(classes - moved + 1)
    return won - lost > sqrt(2.0 * (won + lost) * (orders - log(_FALSE_ALARMS)))


def mismatch(task: str, name: str, found: Score) -> UserError:
    """The error of a teacher at chance level, with the way out."""
    hint = ""
    if found.accuracy_in_order is not None:
        hint = f" (with its classes in another order it is right on {found.accuracy_in_order:.1%})"
    return UserError(
        "teacher_mismatch",
        f"teacher `{name}` is right on {found.accuracy:.1%} of the training labels of `{task}`, which is chance level "
        f"(up to {found.chance:.1%}){hint}: check its `inputs` and the order of classes, or set "
        "`distillation.allow_chance_teacher`",
    )


def order_warning(task: str, name: str, found: Score) -> WarningEvent | None:
    """What to say where another order of the teacher's classes fits better."""
    if found.order is None or found.accuracy_in_order is None:
        return None
    moved = [f"label {label} were its class {own}" for label, own in enumerate(found.order) if label != own]
    shown = ", ".join(moved[:_SHOWN]) + (f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else "")
    return WarningEvent(
        code="class_order_suspected",
        message=f"teacher `{name}` agrees with {found.accuracy:.1%} of the labels of `{task}`, and would with "
        f"{found.accuracy_in_order:.1%} if {shown}: check the order of its classes",
    )


def check_teacher(
    task: str,
    name: str,
    teacher_outputs: TeacherOutputs,
    target: TargetColumn | None,
    train: Tensor,
    allow_chance: bool,
    emit: Callable[[ChildEvent], None],
) -> None:
    """Raises UserError `teacher_mismatch`; warns `class_order_suspected`. Only class tasks with labels can tell."""
    found = score(teacher_outputs, target, train)
    if found is None:
        return
    if found.at_chance and not allow_chance:
        raise mismatch(task, name, found)
    warning = order_warning(task, name, found)
    if warning is not None:
        emit(warning)
