"""Checks before training that a teacher is better than chance on the labels and that its classes are in their order.

Chance is the expected accuracy of predictions that are independent of the labels but have the same class frequencies:
p_e = Σ_c P(label = c) · P(prediction = c) (Cohen 1960). A teacher within three standard errors of it is at chance,
unless its scores rank the labels (`ranking`): one of a rare class is right and never predicts it. Where no class has
more than half of the rows its labels must also be likelier than by their shares: such a teacher would predict them.

Another class order is suspected where a permutation of the teacher's classes agrees better with the labels. Even for
random predictions some permutation agrees better, so for a teacher at chance the gain must exceed that of noise: with b
rows gained and c rows lost by a permutation that moves m of C classes, b − c > √(2 (b + c) ln(1000 C!/(C − m)!)), by
Hoeffding's bound over all permutations that move as many.
"""

from dataclasses import dataclass, replace
from math import lgamma, log, sqrt

import numpy as np
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ClassOutput
from app.contracts.wire.events import WarningEvent
from workers.engine.data.dataset import TargetColumn
from workers.engine.losses.softmax import class_scores
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.teachers.ranking import Ranking, ranking_of

DEVIATIONS = 3.0
MAX_CLASSES = 1024
"""Largest number of classes for which other orders are searched. SciPy's solver is O(n³): it takes 0.03 s for 1024
classes on typical counts and 2 s on independent predictions, for 4096 classes 0.6 s and 60 s.
"""
_MOST_MOVED = 0.8
"""Share of the moved labels that another order must explain, above chance."""
_FALSE_ALARM_RATE = 1e-3
_SHOWN_CLASSES = 5


@dataclass(frozen=True)
class TeacherScore:
    """The agreement of a teacher with the labels of a class task.

    `chance` is the largest accuracy that counts as chance. `order` has for each class of the labels the best matching
    class of the teacher, None where that is the same class (and, unchecked, above MAX_CLASSES classes). `decidable`:
    whether a perfect teacher could be told from chance: not with few labels, or labels of one class. `ranking`: of a
    teacher whose accuracy says nothing, None else; `commonest`: the share of the commonest label.
    """

    rows: int
    accuracy: float
    chance: float
    order: tuple[int, ...] | None = None
    accuracy_in_order: float | None = None
    decidable: bool = True
    ranking: Ranking | None = None
    commonest: float = 0.0

    @property
    def accuracy_at_chance(self) -> bool:
        return self.accuracy <= self.chance

    @property
    def knows_by_ranking(self) -> bool:
        """Whether the scores show knowledge that the accuracy does not: in the order of classes that it has."""
        if self.ranking is None or self.order is not None:
            return False
        return self.ranking.knows and (self.ranking.likelier or self.commonest > 0.5)

    @property
    def at_chance(self) -> bool:
        return self.decidable and self.accuracy_at_chance and not self.knows_by_ranking


def labels_and_scores(teacher_outputs: TeacherOutputs, target: TargetColumn, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(labels int64 [n], the teacher's scores [n, C]) for the labelled `rows` of a class task with an output."""
    assert isinstance(teacher_outputs.spec, ClassOutput)
    known = rows[target.labelled[rows] & teacher_outputs.available[rows]]
    return target.values[known], class_scores(teacher_outputs.at(known), teacher_outputs.spec)


def chance_accuracy(labels: Tensor, predictions: Tensor, classes: int) -> float:
    """The largest accuracy that counts as chance, for labels and predictions int64 [n], n > 0."""
    pair = labels, predictions
    label_shares, shares = (torch.bincount(each, minlength=classes).double() / len(each) for each in pair)
    expected = float(label_shares @ shares)
    return expected + DEVIATIONS * sqrt(expected * (1.0 - expected) / len(labels))


def score(teacher_outputs: TeacherOutputs, target: TargetColumn | None, rows: Tensor) -> TeacherScore | None:
    """The agreement of a teacher with the labels of `rows`; None without labels and for tasks that are not classes."""
    if target is None or target.kind != "class" or not isinstance(teacher_outputs.spec, ClassOutput):
        return None
    labels, scores = labels_and_scores(teacher_outputs, target, rows)
    if len(labels) == 0:
        return None
    predictions = scores.argmax(1)
    accuracy = float((labels == predictions).double().mean())
    chance = chance_accuracy(labels, predictions, target.size)
    decidable = chance_accuracy(labels, labels, target.size) < 1.0
    result = TeacherScore(len(labels), accuracy, chance, decidable=decidable)
    if target.size <= MAX_CLASSES:
        result = _with_order(result, labels, predictions, target.size)
    if decidable and not result.accuracy_at_chance:
        return result
    commonest = float(torch.bincount(labels).max()) / len(labels)
    return replace(result, ranking=ranking_of(scores, labels), commonest=commonest)


def best_assignment(counts: Tensor) -> tuple[int, ...]:
    """The permutation p that maximises Σ_i counts[i, p(i)], for integer counts [n, n] of at most MAX_CLASSES rows.

    Among equally good ones it is the one with most fixed points. Raises ValueError for other shapes.
    """
    n = len(counts)
    if counts.shape != (n, n) or n > MAX_CLASSES:
        raise ValueError(f"expected a square matrix of at most {MAX_CLASSES} rows, found {list(counts.shape)}")
    diagonal = counts.diagonal()
    if n == 0 or any(torch.equal(diagonal, counts.amax(side)) for side in (0, 1)):
        return tuple(range(n))  # no permutation has more than the sum of the largest counts
    from scipy.optimize import linear_sum_assignment  # only here, as its import takes longer than a short job

    # Counts are multiplied by n + 1, so that the bonus of the diagonal, n at most, only breaks ties.
    benefits = counts.numpy() * (n + 1) + np.eye(n)
    _, columns = linear_sum_assignment(benefits, maximize=True)
    return tuple(columns.tolist())


def _with_order(result: TeacherScore, labels: Tensor, predictions: Tensor, classes: int) -> TeacherScore:
    counts = torch.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    order = best_assignment(counts)
    permutation = torch.tensor(order)
    moved = int((permutation != torch.arange(classes)).sum())
    gained = int(((permutation[labels] == predictions) & (labels != predictions)).sum())
    lost = int(((permutation[labels] != predictions) & (labels == predictions)).sum())
    at_chance = result.decidable and result.accuracy_at_chance
    is_order = _exceeds_noise(gained, lost, classes, moved) if at_chance else _is_exchange(counts, permutation)
    if moved == 0 or not is_order:
        return result
    return replace(result, order=order, accuracy_in_order=result.accuracy + (gained - lost) / result.rows)


def _is_exchange(counts: Tensor, permutation: Tensor) -> bool:
    """Whether nearly all moved labels are predicted as their new class on most of their rows.

    `counts` [n, n] by label and prediction. A teacher that learned little confuses classes, and predicts one of them
    for rows of many labels: another order agrees a little better, and is not its order.
    """
    labels = (permutation != torch.arange(len(permutation))).nonzero().reshape(-1)
    agreed = counts[labels, permutation[labels]]
    return float((2 * agreed > counts[labels].sum(dim=1)).double().mean()) >= _MOST_MOVED if len(labels) else False


def _exceeds_noise(gained: int, lost: int, classes: int, moved: int) -> bool:
    """Whether the gain exceeds that of the best permutation of as many classes on random predictions."""
    log_permutations = lgamma(classes + 1) - lgamma(classes - moved + 1)
    return gained - lost > sqrt(2.0 * (gained + lost) * (log_permutations - log(_FALSE_ALARM_RATE)))


def mismatch_error(task: str, name: str, result: TeacherScore) -> UserError:
    """The UserError of a teacher at chance level."""
    hint = ""
    if result.ranking is not None:
        hint = f" and ranks them with an area under the ROC curve of {result.ranking.area:.3g}"
        hint += f" (chance: up to {result.ranking.chance:.3g})"
    if result.accuracy_in_order is not None:
        hint += f" (with its classes in another order it is right on {result.accuracy_in_order:.1%})"
    return UserError(
        "teacher_mismatch",
        f"teacher `{name}` is right on {result.accuracy:.1%} of the training labels of `{task}`, which is chance level "
        f"(up to {result.chance:.1%}){hint}: check its `inputs` and the order of classes, or set "
        "`distillation.allow_chance_teacher`",
    )


def ranking_warning(task: str, name: str, result: TeacherScore) -> WarningEvent | None:
    """The warning about a teacher that knows the labels by its ranking alone, with probabilities far off; else None."""
    if result.ranking is None or not result.knows_by_ranking or not result.ranking.unlikelier:
        return None
    return WarningEvent(
        code="teacher_weak",
        message=f"teacher `{name}` of `{task}` ranks the training labels with an area under the ROC curve of "
        f"{result.ranking.area:.3g}, but is right on {result.accuracy:.1%} of them, which is chance level (up to "
        f"{result.chance:.1%}), and its probabilities fit them worse than their shares do: check the `inputs` that it "
        "expects, and whether it was trained with other shares of the classes",
    )


def class_order_warning(task: str, name: str, result: TeacherScore) -> WarningEvent | None:
    """The warning that another order of the teacher's classes agrees better; None where none does."""
    if result.order is None or result.accuracy_in_order is None:
        return None
    moved = [f"label {label} were its class {other}" for label, other in enumerate(result.order) if label != other]
    shown = ", ".join(moved[:_SHOWN_CLASSES])
    if len(moved) > _SHOWN_CLASSES:
        shown += f" and {len(moved) - _SHOWN_CLASSES} more"
    return WarningEvent(
        code="class_order_suspected",
        message=f"teacher `{name}` agrees with {result.accuracy:.1%} of the labels of `{task}`, and would with "
        f"{result.accuracy_in_order:.1%} if {shown}: check the order of its classes",
    )
