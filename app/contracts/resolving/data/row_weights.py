"""Row weights that a job names: does its dataset have them, and are they defined where they are named?"""

from collections.abc import Iterator, Sequence

from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TaskSpec
from app.contracts.specs.training import TrainingSpec


def check_row_weights(spec: AnyTrainingJob, dataset: DatasetFacts, findings: Findings) -> None:
    """Problems for row weights that the dataset does not have, that are all 0, or of a method that compares rows."""
    for pointer, name in dict.fromkeys(_named(spec)):
        if name not in dataset.weights:
            findings.problem(
                pointer,
                "unknown_row_weights",
                f"the dataset has no row weights `{name}`, it has {quoted(dataset.weights)}: upload it with the column "
                "in `weights` of its manifest (of several datasets each needs them)",
            )
            continue
        train = dataset.weights[name].get("train")
        if train is not None and train.sum == 0.0:
            findings.problem(
                pointer,
                "weights_sum_to_zero",
                f"the row weights `{name}` of the {train.rows} training rows are all 0: nothing would be learned, "
                "raise some of them",
            )
    for place, distillation in _distillations(spec):
        for i, term in enumerate(distillation.soft_targets or ()):
            if term.row_weights is not None and term.relational:
                findings.problem(
                    f"{place}/soft_targets/{i}/row_weights",
                    "row_weights_undefined",
                    f"`{term.method}` compares the rows of a batch with each other, where a row has no weight of its "
                    "own: leave `row_weights` out, or use `kd`",
                )


def _named(spec: AnyTrainingJob) -> Iterator[tuple[str, str]]:
    """(JSON pointer, name) of row weights; those that a task has from `training` are named there."""
    training = spec.training.row_weights
    if training is not None:
        yield "/training/row_weights", training
    for i, task in enumerate(spec.tasks if isinstance(spec, MultitaskJob) else ()):
        if task.row_weights is not None and task.row_weights != training:
            yield f"/tasks/{i}/row_weights", task.row_weights
    for place, distillation in _distillations(spec):
        for i, term in enumerate(distillation.soft_targets or ()):
            if term.row_weights is not None:
                yield f"{place}/soft_targets/{i}/row_weights", term.row_weights


def _distillations(spec: AnyTrainingJob) -> Iterator[tuple[str, DistillationSpec]]:
    if isinstance(spec, DistillJob):
        yield "/distillation", spec.distillation
    for i, task in enumerate(spec.tasks if isinstance(spec, MultitaskJob) else ()):
        if task.distillation is not None:
            yield f"/tasks/{i}/distillation", task.distillation


def weighted_tasks(
    tasks: Sequence[TaskSpec], goals: Sequence[Goal], training: TrainingSpec, findings: Findings
) -> tuple[TaskSpec, ...]:
    """The tasks with their own row weights, or those of `training` where they have labels."""
    resolved = []
    for i, (task, goal) in enumerate(zip(tasks, goals, strict=True)):
        check_labelled(task.row_weights, [goal], findings, f"/tasks/{i}/row_weights")
        names = task.row_weights or (training.row_weights if goal.labelled else None)
        resolved.append(task.model_copy(update={"row_weights": names}))
    check_labelled(training.row_weights, goals, findings, "/training/row_weights")
    return tuple(resolved)


def check_labelled(name: str | None, goals: Sequence[Goal], findings: Findings, pointer: str) -> None:
    """Row weights of the loss on labels need some labels."""
    if name is not None and not any(goal.labelled for goal in goals):
        findings.problem(
            pointer,
            "labels_needed",
            f"`row_weights` here weighs the loss on labels, and {quoted(goal.name for goal in goals)} has none: leave "
            "it out, or name the weights in `row_weights` of a soft target",
        )
