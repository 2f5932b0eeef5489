"""Builds the tasks of a run from its spec: those of the student, and those of a control without teachers.

`train` has one task with labels, `distill` one task with teacher terms, `multitask` several of either; the training
loop does not distinguish them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor

from app.contracts.layouts.starting_tensors import kept_heads, source_names
from app.contracts.problems import UserError
from app.contracts.resolving.data.class_names import names_of
from app.contracts.resolving.multitask.sharing import with_own_layers
from app.contracts.resolving.students.inits import starting_tensors, tensors
from app.contracts.resolving.students.pretrained import classes_of, is_slice
from app.contracts.resources.manifests import (
    ClassOutput,
    MapOutput,
    MultilabelOutput,
    OutputSpec,
    TokenClassOutput,
    ValueOutput,
    VectorOutput,
)
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.distillation import DistillationSpec, FeatureTerm
from app.contracts.specs.families.family import Cut
from app.contracts.specs.jobs import TaskSpec, TeacherRef
from app.contracts.wire.events import ChildEvent
from app.contracts.wire.orders import ModelInput
from workers.engine.data.dataset import TargetColumn
from workers.engine.data.facts import value_statistics, vector_statistics
from workers.engine.evaluation.parties import EvaluatedTask, TaskTeacher
from workers.engine.losses.peer_loss import PeerTargets
from workers.engine.losses.regression_losses import NumberTargets
from workers.engine.losses.soft_target_losses import ClassSoftTargets, LabelSoftTargets, PositionSoftTargets
from workers.engine.losses.supervised_loss import SupervisedLoss
from workers.engine.losses.teacher_mix import TeacherOutputs
from workers.engine.losses.term import Term
from workers.engine.models import build
from workers.engine.models.families.library.trunks import on_meta
from workers.engine.models.loading import load_weights
from workers.engine.tasks.distillation import teacher_terms, weight_schedules, weights_of_terms
from workers.engine.tasks.run_spec import RunSpec
from workers.engine.tasks.supervision import row_weights_of, supervised_loss
from workers.engine.tasks.task import Task
from workers.engine.teachers.assessment import check_teacher
from workers.engine.teachers.teachers import Teachers

Emit = Callable[[ChildEvent], None]


@dataclass(frozen=True)
class BuiltTask:
    """A task of the student, the same task for a control (None without labels), and the outputs of its teachers."""

    student: Task
    control: Task | None
    teachers: tuple[TeacherOutputs, ...]

    @property
    def evaluated(self) -> EvaluatedTask:
        """The task as the evaluation has it, with the teachers' stored outputs instead of another forward pass."""
        teachers = tuple(
            TaskTeacher(each.key, each.weight, each.spec, each.at, each.output, each.select) for each in self.teachers
        )
        return EvaluatedTask(self.student.name, self.student.spec, self.student.target, teachers)


def build_tasks(run_spec: RunSpec, teachers: Teachers, emit: Emit) -> tuple[BuiltTask, ...]:
    """Build the tasks of a run; each teacher runs at most once. Raises UserError `teacher_mismatch`.

    `emit` receives the warnings about teachers.
    """
    request_layers(run_spec, teachers)
    return tuple(_build_task(task, run_spec, teachers, emit) for task in run_spec.tasks)


def with_weights(tasks: Sequence[BuiltTask], run_spec: RunSpec) -> tuple[BuiltTask, ...]:
    """The tasks with the weights of `run_spec`, from which they differ in nothing else; they share their columns."""
    return tuple(_with_weights(task, spec) for task, spec in zip(tasks, run_spec.tasks, strict=True))


def _with_weights(task: BuiltTask, spec: TaskSpec) -> BuiltTask:
    if not task.teachers:
        return task
    distillation = spec.distillation or DistillationSpec()
    weights = weights_of_terms(distillation)
    terms = tuple(_with_weight(term, weights.get(term.name, term.weight)) for term in task.student.terms)
    student = replace(task.student, terms=terms, weight_schedules=weight_schedules(distillation))
    return replace(task, student=student)


def _with_weight(term: Term, weight: float) -> Term:
    if weight == term.weight:
        return term
    assert isinstance(term, SupervisedLoss | ClassSoftTargets | PositionSoftTargets | LabelSoftTargets | NumberTargets)
    return replace(term, weight=weight)


def request_layers(run_spec: RunSpec, teachers: Teachers) -> None:
    """Request the teachers' layers that the feature terms read, before any outputs: one pass computes all."""
    for ref, term in _feature_terms(run_spec):
        for pair in term.pairs.values():
            teachers.request_layer(ref, pair)


def initial_weights(run_spec: RunSpec, teachers: Teachers) -> dict[str, Tensor]:
    """What the student starts from instead of random weights, by the names of its own tensors: layers of a teacher
    (`init`) and heads that a feature term reuses.
    """
    return {**_initial_layers(run_spec, teachers), **_reused_heads(run_spec, teachers)}


def pretrained_weights(
    architecture: Architecture, models: Mapping[str, ModelInput], tasks: Sequence[BuiltTask]
) -> dict[str, Tensor]:
    """The weights of the model that a network and its control start from, by the names of its own tensors: the trunk,
    and heads of the same name, size and classes. Empty where it starts from random weights.

    Raises UserError `pretrained_misfit` where the model has no such tensor, before any work.
    """
    if architecture.pretrained is None:
        return {}
    model = models[architecture.pretrained]
    assert model.facts is not None
    assert model.facts.architecture is not None
    theirs = model.facts.architecture
    weights = load_weights(Path(model.path), model.manifest, theirs)
    specs = {task.student.name: task.student.spec for task in tasks}
    classes = {name: names_of(spec) for name, spec in specs.items()}
    kept = kept_heads(architecture, theirs, classes, classes_of(model.facts))
    shapes = {name: value.shape for name, value in on_meta(lambda: build(architecture)).state_dict().items()}
    sources = source_names(architecture, theirs, shapes, kept)
    return {name: _part(weights, source, shapes[name], architecture.cut) for name, source in sources.items()}


def _part(weights: Mapping[str, Tensor], source: str, shape: torch.Size, cut: Cut | None) -> Tensor:
    """A tensor of a model, or its leading rows and columns where the network is a slice of it."""
    found = weights.get(source)
    if found is None or (found.shape != shape and not is_slice(cut, shape, found.shape)):
        has = "none of that name" if found is None else f"one of shape {list(found.shape)}"
        raise UserError(
            "pretrained_misfit",
            f"expected a tensor `{source}` of shape {list(shape)} in the pretrained model, found {has}: name a model "
            "of the same network, or start from random weights",
        )
    return found if found.shape == shape else found[tuple(slice(size) for size in shape)].clone()


def _feature_terms(run_spec: RunSpec) -> Iterator[tuple[TeacherRef, FeatureTerm]]:
    for task in run_spec.tasks:
        for term in (task.distillation.features if task.distillation else None) or ():
            assert task.teachers is not None
            yield task.teachers[term.teacher], term


def _initial_layers(run_spec: RunSpec, teachers: Teachers) -> dict[str, Tensor]:
    if run_spec.init is None:
        return {}
    refs = [ref for task in run_spec.tasks for ref in task.teachers or ()]
    network = teachers.network(refs[run_spec.init.teacher])
    pairs = starting_tensors(run_spec.init, tensors(run_spec.architecture), tensors(network.architecture))
    weights = network.state_dict()
    return {name: weights[source].detach().clone() for name, source in pairs.items()}


def _reused_heads(run_spec: RunSpec, teachers: Teachers) -> dict[str, Tensor]:
    """The teachers' heads that feature terms give to the student, by the student's own names."""
    weights: dict[str, Tensor] = {}
    student = build(run_spec.architecture)
    for task in run_spec.tasks:
        for term in (task.distillation.features if task.distillation else None) or ():
            if term.reuses_head and task.teachers:
                ref = task.teachers[term.teacher]
                assert ref.output is not None
                state = teachers.network(ref).head(ref.output).state_dict()
                weights |= {f"{student.head_name(task.name)}.{name}": value.clone() for name, value in state.items()}
    return weights


def _build_task(task: TaskSpec, run_spec: RunSpec, teachers: Teachers, emit: Emit) -> BuiltTask:
    """The student's task, and the control's with the supervised loss alone at weight 1."""
    smoothing = run_spec.training.label_smoothing
    dataset, device = teachers.dataset, teachers.device
    target = dataset.targets.get(task.target or task.name)
    target = target if target is not None and target.kind != "teacher" else None
    outputs = _checked_outputs(task, target, teachers, emit)
    spec = _spec_from_target(target, dataset.splits["train"]) if target is not None else _spec_from_teacher(outputs[0])
    distillation = with_own_layers(task.distillation or DistillationSpec(), run_spec.architecture, task.name)
    terms: list[Term] = []
    if task.teachers:
        seed, architecture = run_spec.training.seed, run_spec.architecture
        terms = teacher_terms(distillation, task.teachers, outputs, spec, target, architecture, seed, teachers)
    control = None
    if target is not None:
        weight = distillation.supervised.share if outputs else 1.0
        train = dataset.splits["train"]
        row_weights = row_weights_of(task.row_weights, dataset, target.labelled, device)
        terms.append(supervised_loss(task, target, spec, weight, smoothing, train, device, row_weights))
        if run_spec.control_smoothing is not None:
            smoothing = run_spec.control_smoothing
        on_labels = supervised_loss(task, target, spec, 1.0, smoothing, train, device, row_weights)
        control = Task(task.name, spec, target, task.weight, (on_labels,))
    if run_spec.mutual is not None:
        every_row = torch.ones(dataset.rows, dtype=torch.bool)
        terms.append(PeerTargets(run_spec.mutual.weight, every_row, run_spec.mutual.temperature))
    schedules = weight_schedules(distillation) if outputs else {}
    return BuiltTask(Task(task.name, spec, target, task.weight, tuple(terms), schedules), control, outputs)


def _checked_outputs(
    task: TaskSpec, target: TargetColumn | None, teachers: Teachers, emit: Emit
) -> tuple[TeacherOutputs, ...]:
    outputs = tuple(teachers.outputs_of(ref) for ref in task.teachers or ())
    allow = task.distillation is not None and task.distillation.allow_chance_teacher
    for each in outputs:
        name = teachers.opened[each.key].name if each.key in teachers.opened else each.key
        check_teacher(task.name, name, each, target, teachers.dataset.splits["train"], allow, emit)
    return outputs


def _spec_from_target(target: TargetColumn, train: Tensor) -> OutputSpec:
    match target.kind:
        case "class":
            return ClassOutput(kind="class", classes=target.classes)
        case "token_class":
            return TokenClassOutput(kind="token_class", classes=target.classes)
        case "map":
            assert target.shape is not None
            return MapOutput(kind="map", shape=target.shape, classes=target.classes)
        case "multilabel":
            return MultilabelOutput(kind="multilabel")
        case "vector":
            means, deviations = vector_statistics(target, train)
            return VectorOutput(kind="vector", mean=means, std=deviations)
        case "value":
            mean, std = value_statistics(target, train)
            return ValueOutput(kind="value", mean=mean, std=std)
        case "teacher":
            raise TypeError("outputs of a teacher are no labels")
        case _:
            assert_never(target.kind)


def _spec_from_teacher(outputs: TeacherOutputs) -> OutputSpec:
    """Without labels the student has its first teacher's output, classes and labels as logits."""
    match outputs.spec:
        case ClassOutput():
            return ClassOutput(kind="class", classes=outputs.spec.classes)
        case TokenClassOutput() | MapOutput():
            return outputs.spec
        case MultilabelOutput():
            return MultilabelOutput(kind="multilabel")
        case ValueOutput() | VectorOutput():
            return outputs.spec
        case _:
            assert_never(outputs.spec)
