"""Builds the teacher terms of a task from its distillation spec: soft targets, features, weights of the teachers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from torch import Tensor

from app.contracts.base import Shape
from app.contracts.layouts.summary import layers
from app.contracts.resolving.distillation.layer_owners import is_by_token
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
from app.contracts.specs.distillation import DistillationSpec, FeatureTerm, LogitTerm, NumberTerm, SoftTargetTerm
from app.contracts.specs.jobs import TeacherRef
from app.contracts.specs.phases import Phase
from workers.engine.data.augment.labels import without_labels
from workers.engine.data.dataset import Dataset, TargetColumn
from workers.engine.losses.feature_losses import FeatureTargets, TeacherLayer
from workers.engine.losses.features.exits import Exits
from workers.engine.losses.features.projectors import draw
from workers.engine.losses.regression_losses import NumberTargets
from workers.engine.losses.soft_target_losses import ClassSoftTargets, LabelSoftTargets, PositionSoftTargets, exits_of
from workers.engine.losses.stacking import Stacking
from workers.engine.losses.teacher_mix import LearnedShares, TeacherEnsemble, TeacherOutputs, confidence_shares
from workers.engine.losses.term import Term
from workers.engine.tasks.supervision import row_weights_of
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
    shapes = _layer_shapes(student, teachers.dataset)
    soft = _soft_terms(spec, all_outputs, output, target, StudentLayers(shapes, seed), teachers.device)
    soft = _with_row_weights(spec, soft, teachers)
    return [*soft, *_feature_terms(spec, refs, shapes, seed, teachers)]


def _layer_shapes(student: Architecture, dataset: Dataset) -> dict[str, Shape]:
    """The shapes of one row of a student's layers; those of a network of texts have as many places as the rows."""
    shapes = {layer.name: layer.shape for layer in layers(student) if layer.shape is not None}
    read = [name for name in student.inputs or dataset.layout.own_shapes if name in dataset.tokens]
    if student.reads != "tokens" or len(read) != 1:
        return shapes
    width = dataset.layout.shapes[read[0]][0]
    return {name: (width, *shape[1:]) if is_by_token(student, shape) else shape for name, shape in shapes.items()}


@dataclass(frozen=True)
class StudentLayers:
    """The shapes of the student's layers (of one row), and the seed of what terms train on them."""

    shapes: Mapping[str, Shape]
    seed: int

    def exits(self, term: LogitTerm, name: str, classes: int, device: torch.device) -> Exits | None:
        """The branches of a term that predicts from layers, with weights drawn from (seed, name)."""
        made = exits_of(term, self.shapes, classes)
        if made is not None:
            draw(made, self.seed, f"exits/{name}")
            made.to(device)
        return made


def _with_row_weights(spec: DistillationSpec, terms: Sequence[Term], teachers: Teachers) -> list[Term]:
    """The terms of the soft targets, those that name row weights with them; terms beside them as they are."""
    names = {name: term.row_weights for name, term in _named_soft_targets(spec)}
    return [
        replace(term, row_weights=row_weights_of(names[term.name], teachers.dataset, term.counted, teachers.device))
        if isinstance(term, ClassSoftTargets | LabelSoftTargets | NumberTargets) and names[term.name] is not None
        else term
        for term in terms
    ]


def weights_of_terms(spec: DistillationSpec) -> dict[str, float]:
    """The weights of the soft targets and of the loss on labels, by the names of their terms."""
    return {"supervised": spec.supervised.share, **{name: term.share for name, term in _named_soft_targets(spec)}}


def weight_schedules(spec: DistillationSpec) -> dict[str, WeightSchedule]:
    """The weights of a task's terms that change over the steps, by name: phases, and annealed teachers."""
    soft, features = _named_soft_targets(spec), spec.features or ()
    annealed = _annealed(spec.anneal)
    handed_over = annealed * sum(term.share for _, term in soft)
    schedules = {"supervised": _weight_schedule(spec.supervised.share, spec.supervised.phase, handed_over)}
    for name, term in soft:
        schedules[name] = _weight_schedule(term.share, term.phase, -annealed * term.share)
    for name, feature in zip(_names([term.method for term in features]), features, strict=True):
        schedules[name] = _weight_schedule(feature.share, feature.phase, 0.0)
    return {name: schedule for name, schedule in schedules.items() if schedule is not None}


def _annealed(anneal: Literal["linear"] | None) -> float:
    """The share of the soft targets' weights that labels have taken over at the last step."""
    match anneal:
        case None:
            return 0.0
        case "linear":
            return 1.0
        case _:
            assert_never(anneal)


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
    student: StudentLayers,
    device: torch.device,
) -> list[Term]:
    labels = target.values if target is not None else None
    match output:
        case ClassOutput():
            ensemble, stacking = _ensemble(spec, all_outputs, labels, device)
            size = all_outputs[0].size
            terms = [
                ClassSoftTargets.of(term, name, ensemble, labels, device, student.exits(term, name, size, device))
                for name, term in _logit_terms(spec)
            ]
            return [*terms, *stacking]
        case TokenClassOutput() | MapOutput():
            if labels is None:
                values = all_outputs[0].numbers
                labels = without_labels(*values.shape[:2])
            ensemble = TeacherEnsemble.of(all_outputs, device)
            each = output.of_a_position
            shape = output.shape if isinstance(output, MapOutput) else None
            return [
                PositionSoftTargets.of(term, name, ensemble, labels, each, shape) for name, term in _logit_terms(spec)
            ]
        case MultilabelOutput():
            ensemble = TeacherEnsemble.of(all_outputs, device)
            return [LabelSoftTargets.of(term, name, ensemble) for name, term in _logit_terms(spec)]
        case ValueOutput() | VectorOutput():
            return [
                NumberTargets.of(term, name, all_outputs, output, labels, device) for name, term in _number_terms(spec)
            ]
        case _:
            assert_never(output)


def _logit_terms(spec: DistillationSpec) -> list[tuple[str, LogitTerm]]:
    named = _named_soft_targets(spec)
    terms = [(name, term) for name, term in named if isinstance(term, LogitTerm)]
    assert len(terms) == len(named), "the resolver refuses terms for other kinds of target"
    return terms


def _number_terms(spec: DistillationSpec) -> list[tuple[str, NumberTerm]]:
    named = _named_soft_targets(spec)
    terms = [(name, term) for name, term in named if isinstance(term, NumberTerm)]
    assert len(terms) == len(named), "the resolver refuses terms for other kinds of target"
    return terms


def _named_soft_targets(spec: DistillationSpec) -> list[tuple[str, SoftTargetTerm]]:
    terms = spec.soft_targets or ()
    return list(zip(_names([term.method for term in terms]), terms, strict=True))


def _ensemble(
    spec: DistillationSpec, all_outputs: tuple[TeacherOutputs, ...], labels: Tensor | None, device: torch.device
) -> tuple[TeacherEnsemble, tuple[Stacking, ...]]:
    """(the teachers with their shares, the term that learns the shares where they are learned)."""
    if len(all_outputs) == 1 or labels is None:
        return TeacherEnsemble.of(all_outputs, device), ()
    match spec.combine:
        case "weights":
            return TeacherEnsemble.of(all_outputs, device), ()
        case "confidence":
            return TeacherEnsemble.of(all_outputs, device, confidence_shares(all_outputs, labels)), ()
        case "learned":
            learned = LearnedShares(len(all_outputs))
            ensemble = TeacherEnsemble.of(all_outputs, device, learned=learned)
            return ensemble, (Stacking.of(ensemble, labels, learned, device),)
        case _:
            assert_never(spec.combine)


def _feature_terms(
    spec: DistillationSpec, refs: Sequence[TeacherRef], shapes: Mapping[str, Shape], seed: int, teachers: Teachers
) -> list[Term]:
    features: Sequence[FeatureTerm] = spec.features or ()
    terms: list[Term] = []
    for term, name in zip(features, _names([term.method for term in features]), strict=True):
        ref = refs[term.teacher]
        theirs = [TeacherLayer(*teachers.layer(ref, pair)) for pair in term.pairs.values()]
        terms.append(FeatureTargets.of(term, name, shapes, theirs, seed, teachers.device))
    return terms
