"""The loss on labels, the weights of classes, and the score of epochs, checked against the tasks of a job."""

from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import BaseModel

from app.contracts.base import members
from app.contracts.resolving.data.row_weights import check_labelled, weighted_tasks
from app.contracts.resolving.data.targets import Goal, class_names, named_class
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.specs.jobs import TaskSpec
from app.contracts.specs.supervision.label_losses import ClassWeights, LabelLoss
from app.contracts.specs.supervision.metrics import CLASS_KINDS, METRICS, metrics_of
from app.contracts.specs.training import PlateauSchedule, TrainingSpec

WEIGHED = (*CLASS_KINDS, "multilabel")
"""Kinds of task whose loss has class weights."""
Weights = Literal["balanced"] | tuple[float, ...]


def supervised_training(training: TrainingSpec, goal: Goal, findings: Findings) -> TrainingSpec:
    """The training of a job with one task, its class weights in the order of the classes."""
    place = "/training"
    _check_loss(training.loss, goal, findings, f"{place}/loss")
    weights = _weights(training.class_weights, goal, findings, f"{place}/class_weights")
    check_labelled(training.row_weights, [goal], findings, f"{place}/row_weights")
    return training.model_copy(update={"class_weights": weights})


def supervised_tasks(
    tasks: Sequence[TaskSpec], goals: Sequence[Goal], training: TrainingSpec, findings: Findings
) -> tuple[TaskSpec, ...]:
    """The tasks with their own loss, class weights and row weights, or those of `training` where they fit."""
    resolved = []
    for i, (task, goal) in enumerate(zip(tasks, goals, strict=True)):
        loss, weights = task.loss, task.class_weights
        if loss is None and training.loss is not None and goal.kind in training.loss.kinds and goal.labelled:
            loss = training.loss
        _check_loss(loss, goal, findings, f"/tasks/{i}/loss")
        place = f"/tasks/{i}/class_weights"
        if weights is None and training.class_weights is not None and goal.kind in WEIGHED and goal.labelled:
            weights, place = training.class_weights, "/training/class_weights"
        update = {"loss": loss, "class_weights": _weights(weights, goal, findings, place)}
        resolved.append(task.model_copy(update=update))
    _check_used(training, goals, findings)
    return weighted_tasks(resolved, goals, training, findings)


def _check_used(training: TrainingSpec, goals: Sequence[Goal], findings: Findings) -> None:
    """What is asked of all tasks must fit one of them."""
    kinds = {goal.kind for goal in goals if goal.labelled}
    if training.loss is not None and not kinds & set(training.loss.kinds):
        _undefined_loss(training.loss, sorted(kinds), findings, "/training/loss")
    if training.class_weights is not None and not kinds & set(WEIGHED):
        findings.problem(
            "/training/class_weights",
            "class_weights_undefined",
            f"class weights are for labelled class and multilabel tasks, and this job has {quoted(kinds)}: leave them "
            "out",
        )


def _check_loss(loss: LabelLoss | None, goal: Goal, findings: Findings, place: str) -> None:
    if loss is None:
        return
    if goal.labelled == 0:
        detail = f"a loss on labels needs some, and `{goal.name}` has none: leave it out"
        findings.problem(place, "labels_needed", detail)
    elif goal.kind not in loss.kinds:
        _undefined_loss(loss, [goal.kind], findings, place)


def _undefined_loss(loss: LabelLoss, kinds: Sequence[str], findings: Findings, place: str) -> None:
    able = [_name(each) for each in members(LabelLoss) if set(each.kinds) & set(kinds)]
    found = ", ".join(kinds) or "unlabelled"
    findings.problem(
        place, "loss_undefined", f"`{loss.name}` is not defined for {found} tasks: use {quoted(able)}, or leave it out"
    )


def _names_entities(goal: Goal) -> bool:
    names = goal.classes or ()
    return goal.kind == "token_class" and any(name[:2] in ("B-", "I-") for name in names)


def _name(loss: type[BaseModel]) -> str:
    return str(get_args(loss.model_fields["name"].annotation)[0])


def _weights(weights: ClassWeights | None, goal: Goal, findings: Findings, place: str) -> Weights | None:
    """`balanced`, or one number for each class; problems where they do not fit the task."""
    if weights is None:
        return None
    if goal.kind not in WEIGHED or goal.labelled == 0:
        findings.problem(
            place,
            "class_weights_undefined",
            f"class weights are for labelled class and multilabel tasks, and `{goal.name}` is a {goal.kind} task with "
            f"{goal.labelled} labels: leave them out",
        )
        return None
    if weights == "balanced":
        return "balanced"
    numbers = _by_name(weights, goal, findings, place) if isinstance(weights, dict) else weights
    if len(numbers) != goal.size:
        findings.problem(
            place,
            "class_weights_mismatch",
            f"`{goal.name}` has {goal.size} classes, found {len(numbers)} weights: give one for each, in their order",
        )
    elif sum(numbers) == 0.0:
        findings.problem(place, "weights_sum_to_zero", "the class weights sum to 0: no row would count")
    return numbers


def _by_name(weights: dict[str, float], goal: Goal, findings: Findings, place: str) -> tuple[float, ...]:
    names = class_names(goal)
    by_class = {named_class(key, names): weight for key, weight in weights.items()}
    unknown = set(by_class) - set(names)
    if unknown:
        findings.problem(
            place,
            "unknown_class",
            f"`{goal.name}` has no class {quoted(unknown)}: its classes are {quoted(names)}",
        )
    elif len(by_class) < len(weights):
        findings.problem(
            place, "duplicate_class", "a class is named twice, by its name and by its number: name it once"
        )
    return tuple(by_class.get(name, 1.0) for name in names)


def check_selection(training: TrainingSpec, goals: Sequence[Goal], has_validation: bool, findings: Findings) -> None:
    """A metric to select by must be one of a task that has labels, and a plateau needs a score.

    Without a validation split (`has_validation`) nothing is selected, and a plateau is refused elsewhere.
    """
    chosen = training.select_by
    labelled = [goal for goal in goals if goal.labelled]
    judged = not labelled or not has_validation or any(goal.validated for goal in labelled)
    if isinstance(training.schedule, PlateauSchedule) and not judged:
        findings.problem(
            "/training/schedule",
            "validation_needed",
            "`plateau` follows the score on labels of the validation split, and its rows have none: give some, or use "
            "another schedule",
        )
    if chosen in ("metric", "loss", "last"):
        return
    if chosen == "entity_f1" and not any(_names_entities(goal) for goal in labelled):
        findings.problem(
            "/training/select_by",
            "unknown_metric",
            "`entity_f1` needs labels of tokens whose classes are called `O`, `B-…` and `I-…`, and this job has none: "
            "select by `accuracy`, or name the classes so",
        )
        return
    if not any(chosen in METRICS[goal.kind] for goal in labelled):
        known = ["metric", "loss", "last", *metrics_of(goal.kind for goal in labelled)]
        findings.problem(
            "/training/select_by",
            "unknown_metric",
            f"no labelled task of this job has the metric `{chosen}`: select by one of {quoted(known)}",
        )
    elif has_validation and not any(chosen in METRICS[goal.kind] for goal in labelled if goal.validated):
        findings.problem(
            "/training/select_by",
            "validation_needed",
            f"`{chosen}` is measured on labels of the validation split, and its rows have none: give some, or select "
            "by `loss` or `last`",
        )
