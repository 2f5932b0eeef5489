"""From a resolved spec to tasks: what the student learns, and what a control learns without teachers.

`train` is one task with labels, `distill` one task with teacher terms, `multitask` several of either; the loop
does not know which of them it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.contracts.resolving.multitask.sharing import with_own_layers
from app.contracts.resolving.students.inits import starting_tensors, tensors
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec, ValueOutput, VectorOutput
from app.contracts.specs.architectures import Architecture, Init, plain
from app.contracts.specs.balancing import Balancing, FixedBalancing
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import (
    ControlSpec,
    DistillJob,
    MultitaskJob,
    MutualSpec,
    TaskSpec,
    TeacherRef,
    TrainJob,
)
from app.contracts.specs.phases import Phase
from app.contracts.specs.relations import EstimatedRelation
from app.contracts.wire.events import ChildEvent
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.reading import value_statistics, vector_statistics
from workers.engine.losses.peer_loss import PeerTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.teacher_mix import Lesson
from workers.engine.losses.term import Term
from workers.engine.models import build
from workers.engine.tasks.distillation import teacher_terms, weighings_of
from workers.engine.tasks.relation import Acting, acting, probed, related_student, related_tasks
from workers.engine.tasks.task import Task
from workers.engine.teachers.sanity_check import check_teacher
from workers.engine.teachers.teachers import Faculty

Spec = TrainJob | DistillJob | MultitaskJob


@dataclass(frozen=True)
class Course:
    """A spec as the engine works on it: one form for all three kinds."""

    spec: Spec
    architecture: Architecture
    tasks: tuple[TaskSpec, ...]
    balancing: Balancing = field(default_factory=lambda: FixedBalancing(method="fixed"))
    acting: Acting | None = None
    """The task relation R, where it acts in the steps."""
    probe: EstimatedRelation | None = None
    """What a first run must estimate before this course can be built."""
    control: bool = False
    control_smoothing: float | None = None
    """Label smoothing of the control, where it is not that of the student."""
    mutual: MutualSpec | None = None
    repeats: int = 1
    init: Init | None = None
    baselines: bool = False

    @property
    def held_heads(self) -> dict[str, Phase]:
        """Tasks whose head is a teacher's, and until when it is not trained."""
        return {
            task.name: term.phase or Phase()
            for task in self.tasks
            for term in (task.distillation.features if task.distillation else None) or ()
            if term.method == "simkd"
        }

    @property
    def peers(self) -> tuple[Architecture, ...]:
        """The other students of mutual learning."""
        return self.mutual.peers if self.mutual is not None else ()

    def architecture_of(self, member: str) -> Architecture:
        """What a member of this name is."""
        if member.startswith("peer-"):
            return self.peers[int(member.removeprefix("peer-")) - 1]
        return self.architecture


def course_of(spec: Spec) -> Course:
    """`train` and `distill` as jobs of one task, named after its target."""
    if isinstance(spec, TrainJob):
        assert spec.target is not None
        return Course(spec, spec.model, (TaskSpec(name=spec.target, target=spec.target),))
    smoothing = spec.control.label_smoothing if isinstance(spec.control, ControlSpec) else None
    control = spec.control is not False
    if isinstance(spec, MultitaskJob):
        return Course(
            spec,
            plain(related_student(spec)),
            tuple(related_tasks(spec)),
            spec.balancing,
            acting(spec),
            probed(spec),
            control,
            smoothing,
            repeats=spec.repeats,
            init=spec.student.init,
            baselines=spec.baselines,
        )
    assert spec.target is not None
    task = TaskSpec(name=spec.target, target=spec.target)
    if spec.teachers:
        task = task.model_copy(update={"teachers": spec.teachers, "distillation": spec.distillation})
    return Course(
        spec,
        plain(spec.student),
        (task,),
        control=control,
        control_smoothing=smoothing,
        mutual=spec.mutual,
        repeats=spec.repeats,
        init=spec.student.init,
    )


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
        means, deviations = vector_statistics(target, train)
        return VectorOutput(kind="vector", mean=means, std=deviations)
    mean, std = value_statistics(target, train)
    return ValueOutput(kind="value", mean=mean, std=std)


def _spec_from_lesson(lesson: Lesson) -> OutputSpec:
    """Without labels the student speaks as its first teacher does, classes in logits."""
    if isinstance(lesson.spec, ClassOutput):
        return ClassOutput(kind="class", classes=lesson.spec.classes)
    return MultilabelOutput(kind="multilabel") if isinstance(lesson.spec, MultilabelOutput) else lesson.spec


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


def taught_tasks(course: Course, faculty: Faculty, emit: Callable[[ChildEvent], None]) -> tuple[Taught, ...]:
    """Build every task of a course; each teacher runs at most once for all of them."""
    expect_layers(course, faculty)
    return tuple(taught_task(task, course, faculty, emit) for task in course.tasks)


def expect_layers(course: Course, faculty: Faculty) -> None:
    """Say which layers of the teachers a course asks for; before any lesson, as one pass gives them all."""
    for task in course.tasks:
        for term in (task.distillation.features if task.distillation else None) or ():
            assert task.teachers is not None
            faculty.expect(task.teachers[term.teacher], term.teacher_layer)


def reused_heads(course: Course, faculty: Faculty) -> dict[str, Tensor]:
    """The teachers' heads that `simkd` gives to the student and leaves as they are, by the student's own names."""
    found: dict[str, Tensor] = {}
    student = build(course.architecture)
    for task in course.tasks:
        for term in (task.distillation.features if task.distillation else None) or ():
            if term.method == "simkd" and task.teachers:
                ref = task.teachers[term.teacher]
                assert ref.output is not None
                state = faculty.network(ref).head(ref.output).state_dict()
                found |= {f"{student.head_name(task.name)}.{name}": value.clone() for name, value in state.items()}
    return found


def starting_weights(course: Course, faculty: Faculty) -> dict[str, Tensor]:
    """What the student starts from instead of random weights, by the names of its own tensors."""
    return {**_initial_layers(course, faculty), **reused_heads(course, faculty)}


def _initial_layers(course: Course, faculty: Faculty) -> dict[str, Tensor]:
    if course.init is None:
        return {}
    refs = [ref for task in course.tasks for ref in task.teachers or ()]
    network = faculty.network(refs[course.init.teacher])
    pairs = starting_tensors(course.init, tensors(course.architecture), tensors(network.architecture))
    theirs = network.state_dict()
    return {own: theirs[other].detach().clone() for own, other in pairs.items()}


def taught_task(task: TaskSpec, course: Course, faculty: Faculty, emit: Callable[[ChildEvent], None]) -> Taught:
    """Build one task. A control has the supervised loss alone, at weight 1."""
    smoothing, seed = course.spec.training.label_smoothing, course.spec.training.seed
    dataset, device = faculty.dataset, faculty.device
    target = dataset.targets.get(task.target or task.name)
    target = target if target is not None and target.kind != "teacher" else None
    lessons = _lessons(task, task.teachers, target, faculty, emit) if task.teachers else ()
    spec = _spec_from_target(target, dataset.splits["train"]) if target is not None else _spec_from_lesson(lessons[0])
    distillation = with_own_layers(task.distillation or DistillationSpec(), course.architecture, task.name)
    terms: list[Term] = []
    if task.teachers:
        terms = teacher_terms(distillation, task.teachers, lessons, spec, target, course.architecture, seed, faculty)
    control = None
    if target is not None:
        weight = distillation.supervised.weight if lessons else 1.0
        supervised = SupervisedLoss.of(target, spec, weight, smoothing, device)
        terms.append(supervised)
        own = course.control_smoothing if course.control_smoothing is not None else smoothing
        alone = SupervisedLoss.of(target, spec, 1.0, own, device)
        control = Task(task.name, spec, target, task.weight, (alone,))
    if course.mutual is not None:
        everyone = torch.ones(dataset.rows, dtype=torch.bool)
        terms.append(PeerTargets(course.mutual.weight, everyone, course.mutual.temperature))
    weighings = weighings_of(distillation) if lessons else {}
    return Taught(Task(task.name, spec, target, task.weight, tuple(terms), weighings), control, lessons)
