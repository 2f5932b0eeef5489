"""Builds the teacher terms of a task from its distillation spec: soft targets, features, weights of the teachers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.layouts.layouts import layers
from app.contracts.resources.manifests import ClassOutput, MultilabelOutput, OutputSpec
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.distillation import (
    CosineTerm,
    DistillationSpec,
    FeatureTerm,
    HuberTerm,
    MseTerm,
    SoftTargetTerm,
    TeacherBoundedTerm,
)
from app.contracts.specs.jobs import TeacherRef
from app.contracts.specs.phases import Phase
from workers.engine.data.dataset import TargetColumn
from workers.engine.losses.feature_losses import FeatureTargets
from workers.engine.losses.regression_losses import NumberTargets
from workers.engine.losses.soft_target_losses import ClassSoftTargets, LabelSoftTargets
from workers.engine.losses.stacking import Stacking
from workers.engine.losses.teacher_mix import LearnedShares, TeacherEnsemble, TeacherOutputs, confidence_shares
from workers.engine.losses.term import Term
from workers.engine.tasks.task import WeightSchedule
from workers.engine.teachers.teachers import Teachers


def teacher_terms(
    spec: DistillationSpec,
    refs: Sequence[TeacherRef],
    all_outputs: tuple[TeacherOutputs, ...],
    output: OutputSpec,
    target: TargetColumn | None,
    student: Architecture,
    seed: int,
    teachers: Teachers,
) -> list[Term]:
    """All terms of a task that depend on a teacher, in the spec's order. `all_outputs` are the outputs of `refs`."""
    soft = _soft_terms(spec, all_outputs, output, target, teachers.device)
    return [*soft, *_feature_terms(spec, refs, student, seed, teachers)]


def weight_schedules(spec: DistillationSpec) -> dict[str, WeightSchedule]:
    """The schedules of the term weights that change over the steps (phases, annealing), by term."""
    soft, features = spec.soft_targets or (), spec.features or ()
    annealed = spec.anneal is not None
    transferred = sum(term.share for term in soft) if annealed else 0.0
    schedules = {"supervised": _weight_schedule(spec.supervised.weight, spec.supervised.phase, transferred)}
    for name, term in zip(_names([term.method for term in soft]), soft, strict=True):
        schedules[name] = _weight_schedule(term.share, term.phase, -term.share if annealed else 0.0)
    for name, feature in zip(_names([term.method for term in features]), features, strict=True):
        schedules[name] = _weight_schedule(feature.share, feature.phase, 0.0)
    return {name: schedule for name, schedule in schedules.items() if schedule is not None}


def _weight_schedule(weight: float, phase: Phase | None, change: float) -> WeightSchedule | None:
    """A weight that changes linearly by `change` and is non-zero in a phase only; None where it is constant."""
    if phase is None and change == 0.0:
        return None
    active = phase or Phase()
    return lambda progress: (weight + change * progress) * active.share(progress)


def _names(methods: Sequence[str]) -> list[str]:
    """The names of terms: their methods, numbered where a method occurs more than once."""
    return [
        method if methods.count(method) == 1 else f"{method}.{methods[:i].count(method) + 1}"
        for i, method in enumerate(methods)
    ]


def _soft_terms(
    spec: DistillationSpec,
    all_outputs: tuple[TeacherOutputs, ...],
    output: OutputSpec,
    target: TargetColumn | None,
    device: torch.device,
) -> list[Term]:
    soft_targets = spec.soft_targets or ()
    names = _names([term.method for term in soft_targets])
    labels = target.values if target is not None else None
    if not isinstance(output, ClassOutput | MultilabelOutput):
        return [
            _number_term(term, name, all_outputs, output, labels, device)
            for term, name in zip(soft_targets, names, strict=True)
        ]
    ensemble, learned = _ensemble(spec, all_outputs, labels, device)
    terms: list[Term] = []
    for term, name in zip(soft_targets, names, strict=True):
        assert not isinstance(term, MseTerm | HuberTerm | TeacherBoundedTerm | CosineTerm)
        if isinstance(output, ClassOutput):
            terms.append(ClassSoftTargets.of(term, name, ensemble, labels, device))
        else:
            terms.append(LabelSoftTargets.of(term, name, ensemble))
    if learned is not None and labels is not None:
        terms.append(Stacking.of(ensemble, labels, learned, device))
    return terms


def _ensemble(
    spec: DistillationSpec, all_outputs: tuple[TeacherOutputs, ...], labels: Tensor | None, device: torch.device
) -> tuple[TeacherEnsemble, LearnedShares | None]:
    several = len(all_outputs) > 1 and labels is not None
    if spec.combine == "learned" and several:
        learned = LearnedShares(len(all_outputs))
        return TeacherEnsemble.of(all_outputs, device, learned=learned), learned
    given = confidence_shares(all_outputs, labels) if spec.combine == "confidence" and labels is not None else None
    return TeacherEnsemble.of(all_outputs, device, given), None


def _number_term(
    term: SoftTargetTerm,
    name: str,
    all_outputs: tuple[TeacherOutputs, ...],
    output: OutputSpec,
    labels: Tensor | None,
    device: torch.device,
) -> Term:
    assert isinstance(term, MseTerm | HuberTerm | TeacherBoundedTerm | CosineTerm)
    return NumberTargets.of(term, name, all_outputs, output, labels, device)


def _feature_terms(
    spec: DistillationSpec, refs: Sequence[TeacherRef], student: Architecture, seed: int, teachers: Teachers
) -> list[Term]:
    features: Sequence[FeatureTerm] = spec.features or ()
    shapes = {layer.name: layer.shape for layer in layers(student)}
    terms: list[Term] = []
    for term, name in zip(features, _names([term.method for term in features]), strict=True):
        teacher_shape, values, augmented = teachers.layer(refs[term.teacher], term.teacher_layer)
        student_shape = shapes[term.student_layer]
        assert student_shape is not None
        device = teachers.device
        terms.append(FeatureTargets.of(term, name, student_shape, teacher_shape, values, augmented, seed, device))
    return terms
