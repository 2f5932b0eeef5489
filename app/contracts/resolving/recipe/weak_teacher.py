"""The weights of a task whose teacher proves weaker than the control, instead of those that the recipe chose before.

At the usual weights such a teacher costs a student up to 6 points where all rows have labels and up to 18 where a tenth
has, at these up to 1.5 and 6; the table is in `tests/architecture/decisions/recipe/0119-weights-of-a-distillation.md`.
"""

from collections.abc import Container, Iterator, Mapping
from typing import assert_never

from app.contracts.problems import Chosen
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import AnyTrainingJob, DistillJob, MultitaskJob, TaskSpec, TrainJob

SOFT, LABELS = 0.1, 0.9
"""Weights of all soft targets together, and of the loss on labels."""


def tasks_with_chosen_weights(spec: AnyTrainingJob, chosen: Container[str]) -> set[str]:
    """The names of the tasks with teachers whose weights of soft targets and labels were all chosen by the recipe.

    `chosen` are the pointers of what it chose. None where a relation lends teachers: a task that borrows them borrows
    their weights, and is not compared with them.
    """
    if isinstance(spec, MultitaskJob) and spec.relation is not None and _lends_teachers(spec):
        return set()
    return {name for name, pointer, terms in _distillations(spec) if _are_chosen(terms, chosen, pointer)}


def for_weak_teachers(spec: AnyTrainingJob, tasks: Container[str]) -> AnyTrainingJob:
    """The spec with the weights of a weak teacher for these tasks."""
    match spec:
        case DistillJob():
            if spec.target not in tasks:
                return spec
            return spec.model_copy(update={"distillation": _lowered(spec.distillation)})
        case MultitaskJob():
            changed = tuple(_lowered_task(task) if task.name in tasks else task for task in spec.tasks)
            return spec.model_copy(update={"tasks": changed})
        case TrainJob():
            return spec
        case _:
            assert_never(spec)


def chosen_for_weak_teachers(
    spec: AnyTrainingJob, reasons: Mapping[str, str], chosen: Mapping[str, Chosen]
) -> dict[str, Chosen]:
    """The values in `chosen` that change, by pointer; `spec` has them already. `reasons` are by task."""
    found = {}
    for name, pointer, terms in _distillations(spec):
        if name not in reasons:
            continue
        whole = f"{pointer}/soft_targets"
        for i, term in enumerate(terms.soft_targets or ()):
            own = f"{whole}/{i}/weight"
            if whole in chosen:
                fields = {"method", "temperature", "weight"}
                found[whole] = Chosen(value=term.model_dump(mode="json", include=fields), because=reasons[name])
            elif own in chosen:
                found[own] = Chosen(value=term.share, because=reasons[name])
        found[f"{pointer}/supervised/weight"] = Chosen(value=terms.supervised.share, because=reasons[name])
    return found


def _distillations(spec: AnyTrainingJob) -> Iterator[tuple[str, str, DistillationSpec]]:
    """(task, pointer, terms) of every task with teachers of its own."""
    match spec:
        case DistillJob():
            if spec.teachers and spec.target is not None:
                yield spec.target, "/distillation", spec.distillation
        case MultitaskJob():
            for i, task in enumerate(spec.tasks):
                if task.teachers and task.distillation is not None:
                    yield task.name, f"/tasks/{i}/distillation", task.distillation
        case TrainJob():
            return
        case _:
            assert_never(spec)


def _are_chosen(spec: DistillationSpec, chosen: Container[str], pointer: str) -> bool:
    terms = range(len(spec.soft_targets or ()))
    if not terms or f"{pointer}/supervised/weight" not in chosen:
        return False
    return f"{pointer}/soft_targets" in chosen or all(f"{pointer}/soft_targets/{i}/weight" in chosen for i in terms)


def _lends_teachers(spec: MultitaskJob) -> bool:
    return getattr(spec.relation, "apply", None) == "teachers"


def _lowered_task(task: TaskSpec) -> TaskSpec:
    return task.model_copy(update={"distillation": _lowered(task.distillation or DistillationSpec())})


def _lowered(spec: DistillationSpec) -> DistillationSpec:
    """Several terms divide the weight of the soft targets evenly, as in the recipe."""
    terms = spec.soft_targets or ()
    soft = tuple(term.model_copy(update={"weight": SOFT / len(terms)}) for term in terms)
    supervised = spec.supervised.model_copy(update={"weight": LABELS})
    return spec.model_copy(update={"soft_targets": soft or None, "supervised": supervised})
