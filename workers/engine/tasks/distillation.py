"""From a task's distillation spec to its terms: soft targets, layers, shares of the teachers."""

from collections.abc import Sequence

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
from workers.engine.losses.teacher_mix import LearnedShares, Lesson, Panel, confidence_shares
from workers.engine.losses.term import Term
from workers.engine.tasks.task import Weighing
from workers.engine.teachers.teachers import Faculty


def teacher_terms(
    spec: DistillationSpec,
    teachers: Sequence[TeacherRef],
    lessons: tuple[Lesson, ...],
    output: OutputSpec,
    target: TargetColumn | None,
    student: Architecture,
    seed: int,
    faculty: Faculty,
) -> list[Term]:
    """Every term of a task that a teacher has a part in, in the spec's order."""
    soft = _soft_terms(spec, lessons, output, target, faculty)
    return [*soft, *_feature_terms(spec, teachers, student, seed, faculty)]


def weighings_of(spec: DistillationSpec) -> dict[str, Weighing]:
    """The weights of a task's terms that change over the steps, by name: phases, and annealed teachers."""
    soft, features = spec.soft_targets or (), spec.features or ()
    taken = sum(term.share for term in soft) if spec.anneal is not None else 0.0
    annealed = spec.anneal is not None
    found = {"supervised": _weighing(spec.supervised.weight, spec.supervised.phase, taken)}
    for name, term in zip(_names([term.method for term in soft]), soft, strict=True):
        found[name] = _weighing(term.share, term.phase, -term.share if annealed else 0.0)
    for name, hint in zip(_names([term.method for term in features]), features, strict=True):
        found[name] = _weighing(hint.share, hint.phase, 0.0)
    return {name: weighing for name, weighing in found.items() if weighing is not None}


def _weighing(weight: float, phase: Phase | None, gained: float) -> Weighing | None:
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
    lessons: tuple[Lesson, ...],
    output: OutputSpec,
    target: TargetColumn | None,
    faculty: Faculty,
) -> list[Term]:
    wanted = spec.soft_targets or ()
    names = _names([term.method for term in wanted])
    labels = target.values if target is not None else None
    if not isinstance(output, ClassOutput | MultilabelOutput):
        return [
            _number_term(term, name, lessons, output, labels, faculty) for term, name in zip(wanted, names, strict=True)
        ]
    panel, learned = _panel(spec, lessons, labels, faculty)
    made: list[Term] = []
    for term, name in zip(wanted, names, strict=True):
        assert not isinstance(term, MseTerm | HuberTerm | TeacherBoundedTerm | CosineTerm)
        if isinstance(output, ClassOutput):
            made.append(ClassSoftTargets.of(term, name, panel, labels, faculty.device))
        else:
            made.append(LabelSoftTargets.of(term, name, panel))
    if learned is not None and labels is not None:
        made.append(Stacking.of(panel, labels, learned, faculty.device))
    return made


def _panel(
    spec: DistillationSpec, lessons: tuple[Lesson, ...], labels: Tensor | None, faculty: Faculty
) -> tuple[Panel, LearnedShares | None]:
    several = len(lessons) > 1 and labels is not None
    if spec.combine == "learned" and several:
        learned = LearnedShares(len(lessons))
        return Panel.of(lessons, faculty.device, learned=learned), learned
    given = confidence_shares(lessons, labels) if spec.combine == "confidence" and labels is not None else None
    return Panel.of(lessons, faculty.device, given), None


def _number_term(
    term: SoftTargetTerm,
    name: str,
    lessons: tuple[Lesson, ...],
    output: OutputSpec,
    labels: Tensor | None,
    faculty: Faculty,
) -> Term:
    assert isinstance(term, MseTerm | HuberTerm | TeacherBoundedTerm | CosineTerm)
    return NumberTargets.of(term, name, lessons, output, labels, faculty.device)


def _feature_terms(
    spec: DistillationSpec, teachers: Sequence[TeacherRef], student: Architecture, seed: int, faculty: Faculty
) -> list[Term]:
    wanted: Sequence[FeatureTerm] = spec.features or ()
    shapes = {layer.name: layer.shape for layer in layers(student)}
    made: list[Term] = []
    for term, name in zip(wanted, _names([term.method for term in wanted]), strict=True):
        theirs, values, by_view = faculty.layer(teachers[term.teacher], term.teacher_layer)
        ours = shapes[term.student_layer]
        assert ours is not None
        made.append(FeatureTargets.of(term, name, ours, theirs, values, by_view, seed, faculty.device))
    return made
