"""The warnings about a training that has ended, each at most once in a job, but `no_better_than_constant` for each task
at most once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from app.contracts.resources.splits import SplitName
from app.contracts.wire.events import WarningEvent
from workers.engine.evaluation.metrics.outputs import PartyOutputs
from workers.engine.evaluation.parties import EvaluatedTask, Outputs
from workers.engine.evaluation.warnings.constant import Comparison
from workers.engine.evaluation.warnings.curves import (
    Curve,
    is_overfitting,
    is_still_improving,
    late_gain,
)
from workers.engine.evaluation.warnings.history import History, constant_loss, relative
from workers.engine.evaluation.warnings.selection import is_tied, is_too_small, row_accuracies, standard_error, tied
from workers.engine.evaluation.warnings.weak_teacher import compare_teachers


@dataclass(frozen=True)
class Learned:
    """A network after training: `student` or `control`, its evaluations, and its outputs for dataset rows."""

    name: str
    history: History
    outputs: Outputs


@dataclass(frozen=True)
class Ended:
    """A training that has ended. `learners`: the student, then the control if there is one."""

    tasks: Sequence[EvaluatedTask]
    learners: Sequence[Learned]
    splits: Mapping[SplitName, Tensor]
    ends_at_zero: bool
    """Whether the learning rate ends at 0, and is not stopped before."""
    by_score: bool
    """Whether the weights were chosen by a metric."""
    controls: Sequence[Outputs] = ()
    """Of the job's first seeds, with which teachers are compared."""
    weighed: frozenset[str] = frozenset()
    """Tasks whose teachers were found weaker, and warned of, before the students were trained."""
    constants: Mapping[str, Mapping[str, Comparison]] = field(default_factory=dict)
    """By task and party."""

    @property
    def validation(self) -> Tensor:
        """The validation rows, int64."""
        return self.splits.get("validation", self.splits["train"][:0])

    def priors(self) -> dict[str, float]:
        """The loss of a constant prediction on the validation rows, by task with labels."""
        losses = {
            task.name: constant_loss(task.target, task.spec.kind, self.splits["train"], self.validation)
            for task in self.tasks
            if task.target is not None
        }
        return {name: loss for name, loss in losses.items() if loss is not None}


def warnings_of(ended: Ended) -> Iterator[WarningEvent]:
    """The warnings that hold. Without labels of validation rows only `no_better_than_constant` can."""
    for task, parties in ended.constants.items():
        yield from _no_better(task, parties)
    if len(ended.validation) > 0:
        yield from _of_curves(ended)
        yield from _too_small(ended)
        yield from _weak_teachers(ended)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"the {name}" for name in names)


def _no_better(task: str, parties: Mapping[str, Comparison]) -> Iterator[WarningEvent]:
    poor = {name: found for name, found in parties.items() if found.is_no_better}
    if not poor:
        return
    first = next(iter(poor.values()))
    answer = "the commonest answer" if first.metric == "accuracy" else "the mean of the training rows"
    figures = ", ".join(f"{found.party:.4g} of the {name}" for name, found in poor.items())
    message = (
        f"on the test rows of `{task}` no better than {answer} for every row, with {first.metric} "
        f"{first.constant:.4g}: expected a difference of two standard errors, found {figures}. Check labels and "
        "inputs, whether inputs are standardised, and the learning rate"
    )
    yield WarningEvent(code="no_better_than_constant", message=message)


def _of_curves(ended: Ended) -> Iterator[WarningEvent]:
    priors = ended.priors()
    curves = {each.name: each.history.curve(priors) for each in ended.learners}
    trained = {each.name: relative(each.history.train, priors) for each in ended.learners}
    improving = [name for name, curve in curves.items() if is_still_improving(curve, ends_at_zero=ended.ends_at_zero)]
    if improving:
        yield _still_improving(improving, curves)
    overfitted = [name for name, curve in curves.items() if is_overfitting(curve, trained[name])]
    if overfitted:
        yield _overfitting(overfitted, curves, trained)


def _still_improving(names: Sequence[str], curves: Mapping[str, Curve]) -> WarningEvent:
    gains = " and ".join(f"{late_gain(curves[name]):.1%}" for name in names)
    message = (
        f"the validation loss of {_listed(names)} was lowest at the end: expected that it settles, found that the last "
        f"quarter of the steps added {gains} of all that was learned. Train longer, by `steps` or `epochs`, or by "
        '`"recipe": "best"`'
    )
    return WarningEvent(code="still_improving", message=message)


def _overfitting(
    names: Sequence[str], curves: Mapping[str, Curve], trained: Mapping[str, float | None]
) -> WarningEvent:
    name = names[0]
    lowest, last = min(loss for _, loss in curves[name]), curves[name][-1][1]
    message = (
        f"training rows were memorised by {_listed(names)}: expected that the validation loss settles, found "
        f"for the {name} {last:.2f} of that of a constant answer at the last step, {lowest:.2f} before and "
        f"{trained[name]:.2f} on training rows. Use fewer steps, more `weight_decay`, `views`, a smaller network, or "
        "more rows, also without labels"
    )
    return WarningEvent(code="overfitting", message=message)


def _too_small(ended: Ended) -> Iterator[WarningEvent]:
    student = ended.learners[0]
    scores = [point.score for point in student.history.points if point.score is not None]
    labelled = [_labelled(task, ended.validation) for task in ended.tasks]
    if not ended.by_score or len(scores) < 2 or not all(len(rows) for rows in labelled):
        return
    outputs = student.outputs(ended.validation)
    by_task = [_accuracies(task, outputs[task.name], ended.validation) for task in ended.tasks]
    accuracies = [each for each in by_task if each is not None]
    rows = min(len(each) for each in labelled)
    if len(accuracies) < len(by_task) or not is_too_small(scores, rows, standard_error(accuracies)):
        return
    found = f"{tied(scores)} of {len(scores)} evaluations have the highest score"
    if not is_tied(scores, rows):
        found = f"its accuracy has a standard error of {100 * standard_error(accuracies):.1f} percentage points"
    message = (
        f"the validation split has {rows} labelled rows, expected enough to tell epochs apart: {found}, so that the "
        "choice of weights is partly chance. Give it a larger share in `splits`, or add labels"
    )
    yield WarningEvent(code="validation_too_small", message=message)


def _labelled(task: EvaluatedTask, rows: Tensor) -> Tensor:
    """The positions in `rows` with a label of the task."""
    return rows[:0] if task.target is None else task.target.labelled[rows].nonzero().reshape(-1)


def _accuracies(task: EvaluatedTask, values: Tensor, rows: Tensor) -> Tensor | None:
    """By labelled row; None for numbers."""
    assert task.target is not None
    places = _labelled(task, rows)
    return row_accuracies(PartyOutputs(values[places], task.spec), task.target.values[rows[places]])


def _weak_teachers(ended: Ended) -> Iterator[WarningEvent]:
    rows, taught = ended.validation, [task for task in ended.tasks if task.teachers and task.name not in ended.weighed]
    outputs = [control(rows) for control in ended.controls] if taught else []
    found = {task.name: compare_teachers(task, [each[task.name] for each in outputs], rows) for task in taught}
    weak = [name for name, comparison in found.items() if comparison is not None and comparison.is_weaker]
    if weak:
        message = (
            f"what teaches {' and '.join(f'`{name}`' for name in weak)} is weaker on the validation rows than the "
            "control, which learned from labels alone: expected a stronger teacher, found a higher loss and a lower "
            "score. Train the teacher longer or use a better one, or give its terms less weight, such as 0.1 beside "
            "0.9 for labels"
        )
        yield WarningEvent(code="teacher_weaker_than_control", message=message)
