"""From a task's distillation spec to its terms: soft targets, layers, shares of the teachers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.contracts.layouts.summary import layers
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
    """Every term of a task that depends on a teacher, in the spec's order. `all_outputs` are those of `refs`."""
    soft = _soft_terms(spec, all_outputs, output, target, teachers.device)
    return [*soft, *_feature_terms(spec, refs, student, seed, teachers)]


def weight_schedules_of(spec: DistillationSpec) -> dict[str, WeightSchedule]:
    """The weights of a task's terms that change over the steps, by name: phases, and annealed teachers."""
    soft, features = spec.soft_targets or (), spec.features or ()
    taken = sum(term.share for term in soft) if spec.anneal is not None else 0.0
    annealed = spec.anneal is not None
    found = {"supervised": _weight_schedule(spec.supervised.weight, spec.supervised.phase, taken)}
    for name, term in zip(_names([term.method for term in soft]), soft, strict=True):
        found[name] = _weight_schedule(term.share, term.phase, -term.share if annealed else 0.0)
    for name, hint in zip(_names([term.method for term in features]), features, strict=True):
        found[name] = _weight_schedule(hint.share, hint.phase, 0.0)
    return {name: schedule for name, schedule in found.items() if schedule is not None}


def _weight_schedule(weight: float, phase: Phase | None, gained: float) -> WeightSchedule | None:
    """A weight that grows by `gained` over the steps and counts in a phase; None where it stays what it is."""
    if phase is None and gained == 0.0:
        return None
    during = phase or Phase()
    return lambda progress: (weight + gained * progress) * during.share(progress)


def _names(methods: Sequence[str]) -> list[str]:
    """A method that is there twice is numbered."""
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
    wanted = spec.soft_targets or ()
    names = _names([term.method for term in wanted])
    labels = target.values if target is not None else None
    if not isinstance(output, ClassOutput | MultilabelOutput):
        return [
            _number_term(term, name, all_outputs, output, labels, device)
            for term, name in zip(wanted, names, strict=True)
        ]
    ensemble, learned = _ensemble(spec, all_outputs, labels, device)
    made: list[Term] = []
    for term, name in zip(wanted, names, strict=True):
        assert not isinstance(term, MseTerm | HuberTerm | TeacherBoundedTerm | CosineTerm)
        if isinstance(output, ClassOutput):
            made.append(ClassSoftTargets.of(term, name, ensemble, labels, device))
        else:
            made.append(LabelSoftTargets.of(term, name, ensemble))
    if learned is not None and labels is not None:
        made.append(Stacking.of(ensemble, labels, learned, device))
    return made


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
    wanted: Sequence[FeatureTerm] = spec.features or ()
    shapes = {layer.name: layer.shape for layer in layers(student)}
    made: list[Term] = []
    for term, name in zip(wanted, _names([term.method for term in wanted]), strict=True):
        theirs, values, by_view = teachers.layer(refs[term.teacher], term.teacher_layer)
        ours = shapes[term.student_layer]
        assert ours is not None
        made.append(FeatureTargets.of(term, name, ours, theirs, values, by_view, seed, teachers.device))
    return made
