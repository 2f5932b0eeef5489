"""From a resolved spec to tasks: what the student learns, and what a control learns without teachers.

`train` is one task with labels, `distill` one task with teacher terms, `multitask` several of either; the loop
does not know which of them it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from app.contracts.architectures import Architecture
from app.contracts.events import ChildEvent
from app.contracts.jobs import (
    DistillationSpec,
    DistillJob,
    FixedBalancing,
    KdTerm,
    MultitaskJob,
    PcgradBalancing,
    SoftTargetTerm,
    TaskSpec,
    TeacherRef,
    TrainJob,
)
from app.contracts.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.data.reading import value_statistics
from workers.engine.lessons import Faculty
from workers.engine.objectives.terms import Lesson, SoftTargets, SupervisedLoss, TeacherNumbers, Term
from workers.engine.preflight import check_teacher
from workers.engine.relations import Relation
from workers.engine.tasks import Task

Spec = TrainJob | DistillJob | MultitaskJob


@dataclass(frozen=True)
class Course:
    """A spec as the engine works on it: one form for all three kinds."""

    spec: Spec
    architecture: Architecture
    tasks: tuple[TaskSpec, ...]
    balancing: FixedBalancing | PcgradBalancing
    relation: Relation | None
    control: bool


def course_of(spec: Spec) -> Course:
    """`train` and `distill` as jobs of one task, named after its target."""
    fixed = FixedBalancing(method="fixed")
    if isinstance(spec, MultitaskJob):
        relation = Relation(spec.relation.matrix) if spec.relation is not None else None
        return Course(spec, spec.student, spec.tasks, spec.balancing, relation, spec.control)
    assert spec.target is not None
    if isinstance(spec, DistillJob):
        task = TaskSpec(name=spec.target, target=spec.target, teachers=spec.teachers, distillation=spec.distillation)
        return Course(spec, spec.student, (task,), fixed, None, spec.control)
    return Course(spec, spec.model, (TaskSpec(name=spec.target, target=spec.target),), fixed, None, control=False)


@dataclass(frozen=True)
class Taught:
    """A task of the student, the same task of a control, and the lessons of its teachers."""

    student: Task
    control: Task | None
    lessons: tuple[Lesson, ...]


def _spec_from_target(target: TargetColumn, train: torch.Tensor) -> OutputSpec:
    if target.kind == "class":
        return ClassOutput(kind="class", classes=target.classes)
    if target.kind == "multilabel":
        return MultilabelOutput(kind="multilabel")
    if target.kind == "vector":
        return VectorOutput(kind="vector")
    mean, std = value_statistics(target, train)
    return ValueOutput(kind="value", mean=mean, std=std)


def _spec_from_lesson(lesson: Lesson) -> OutputSpec:
    """Without labels the student speaks as its first teacher does, classes in logits."""
    if isinstance(lesson.spec, ClassOutput):
        return ClassOutput(kind="class", classes=lesson.spec.classes)
    return MultilabelOutput(kind="multilabel") if isinstance(lesson.spec, MultilabelOutput) else lesson.spec


def _term(term: SoftTargetTerm, lessons: tuple[Lesson, ...], spec: OutputSpec, device: torch.device) -> Term:
    if isinstance(term, KdTerm):
        return SoftTargets.of(lessons, term.temperature, term.weight, device)
    return TeacherNumbers.of(lessons, spec, term.weight, device)


def _lessons(
    task: TaskSpec,
    teachers: tuple[TeacherRef, ...],
    target: TargetColumn | None,
    faculty: Faculty,
    emit: Callable[[ChildEvent], None],
) -> tuple[Lesson, ...]:
    lessons = tuple(faculty.lesson(ref) for ref in teachers)
    allow = task.distillation is not None and task.distillation.allow_chance_teacher
    for lesson in lessons:
        name = faculty.teachers[lesson.key].name if lesson.key in faculty.teachers else lesson.key
        check_teacher(task.name, name, lesson, target, faculty.dataset.splits["train"], allow, emit)
    return lessons


def taught_task(task: TaskSpec, smoothing: float, faculty: Faculty, emit: Callable[[ChildEvent], None]) -> Taught:
    """Build one task. A control has the supervised loss alone, at weight 1."""
    dataset, device = faculty.dataset, faculty.device
    target = dataset.targets.get(task.target or task.name)
    target = target if target is not None and target.kind != "teacher" else None
    lessons = _lessons(task, task.teachers, target, faculty, emit) if task.teachers else ()
    spec = _spec_from_target(target, dataset.splits["train"]) if target is not None else _spec_from_lesson(lessons[0])
    distillation = task.distillation or DistillationSpec()
    terms: list[Term] = [_term(term, lessons, spec, device) for term in distillation.soft_targets or () if lessons]
    control = None
    if target is not None:
        weight = distillation.supervised.weight if lessons else 1.0
        supervised = SupervisedLoss.of(target, spec, weight, smoothing, device)
        terms.append(supervised)
        alone = SupervisedLoss(1.0, supervised.counted, supervised.labels, supervised.loss)
        control = Task(task.name, spec, target, task.weight, (alone,))
    return Taught(Task(task.name, spec, target, task.weight, tuple(terms)), control, lessons)


def dataset_of(datasets: dict[str, Dataset], spec: Spec) -> Dataset:
    """The dataset of a job (one, for now)."""
    return datasets[spec.dataset_refs()[0].dataset]
