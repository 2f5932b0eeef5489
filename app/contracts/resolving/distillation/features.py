"""Do the layers that feature terms name exist, and do their shapes go together?"""

from collections.abc import Sequence
from typing import assert_never

from app.contracts.base import Shape
from app.contracts.layouts.cuts import reached_layers
from app.contracts.layouts.summary import layers_of
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.multitask.sharing import own_layer
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.distillation import FeatureTerm, LayerShapes
from app.contracts.specs.sharing import scheme_of


def check_features(
    terms: Sequence[FeatureTerm],
    teachers: Sequence[ModelFacts | OutputFacts | None],
    outputs: Sequence[str | None],
    student: Architecture,
    task: str,
    findings: Findings,
    pointer: str,
) -> None:
    """Problems for layers that are not there or do not fit a task of the student, which is resolved.

    `teachers` are None where unknown; `outputs` are the names of the outputs that they teach with.
    """
    ours = reached_layers(student, task)
    owner = "the student" if scheme_of(student.sharing) is None else f"the part of the student that `{task}` uses"
    for i, term in enumerate(terms):
        place = f"{pointer}/features/{i}"
        shape = _layer(ours, term.student_layer, findings, f"{place}/student_layer", owner)
        theirs = _teacher_layer(term, teachers, outputs, findings, place)
        if shape is not None and theirs is not None:
            _check_series(term, student, shape, teachers[term.teacher], theirs, findings, place)
            _check_shapes(term, shape, theirs, findings, place)


def _check_series(
    term: FeatureTerm,
    student: Architecture,
    ours: Shape,
    teacher: ModelFacts | OutputFacts | None,
    theirs: Shape,
    findings: Findings,
    place: str,
) -> None:
    """Layers [channels, length] are neither maps nor tokens, whose shapes have as many dimensions."""
    architecture = teacher.architecture if isinstance(teacher, ModelFacts) else None
    sides = ((student, ours, "student"), (architecture, theirs, "teacher"))
    for side, shape, owner in sides:
        is_series = side is not None and side.has_feature_maps and len(side.input_shape or ()) == 2
        if term.layer_shapes != "any" and is_series and len(shape) == 2:
            findings.problem(
                f"{place}/{owner}_layer",
                "shape_mismatch",
                f"`{term.method}` compares maps, tokens or vectors, and this layer of the {owner} is a series "
                f"[channels, length]: use `penultimate`, or `similarity` or `rkd`, which take any layer",
            )


def _teacher_layer(
    term: FeatureTerm,
    teachers: Sequence[ModelFacts | OutputFacts | None],
    outputs: Sequence[str | None],
    findings: Findings,
    place: str,
) -> Shape | None:
    if term.teacher >= len(teachers):
        findings.problem(
            f"{place}/teacher",
            "unknown_teacher",
            f"there are {len(teachers)} teachers, counted from 0: no {term.teacher}",
        )
        return None
    facts = teachers[term.teacher]
    if facts is None:
        findings.unknown()
        return None
    if term.reuses_head and isinstance(facts, ModelFacts) and facts.architecture is None:
        findings.problem(
            f"{place}/teacher",
            "no_layers",
            f"`{term.method}` reuses a head, and a graph has none to take: name a teacher of a known family",
        )
        return None
    if isinstance(facts, OutputFacts):
        findings.problem(
            f"{place}/teacher",
            "no_layers",
            "this teacher is a column of the dataset, which has outputs and no layers: name a model as teacher",
        )
        return None
    name, output = term.teacher_layer, outputs[term.teacher]
    if facts.architecture is not None and output is not None:
        name = own_layer(facts.architecture, output, name)
    return _layer(layers_of(facts), name, findings, f"{place}/teacher_layer", "the teacher")


def _layer(known: dict[str, Shape | None], name: str, findings: Findings, place: str, owner: str) -> Shape | None:
    if name not in known:
        findings.problem(place, "unknown_layer", f"{owner} has no layer `{name}`: it has {quoted(known)}")
        return None
    shape = known[name]
    if shape is None:
        findings.problem(place, "open_shape", f"the graph of {owner} does not say the shape of `{name}`: tap another")
    return shape


def _check_shapes(term: FeatureTerm, ours: Shape, theirs: Shape, findings: Findings, place: str) -> None:
    shapes = f"the student's layer has shape {list(ours)}, the teacher's {list(theirs)}"
    expected = _expected_shapes(term.layer_shapes, ours, theirs)
    if expected is not None:
        findings.problem(place, "shape_mismatch", f"`{term.method}` compares {expected}: {shapes}")
        return
    misfit = term.setting_misfit(ours, theirs)
    if misfit is not None:
        field, reason = misfit
        findings.problem(f"{place}/{field}", "shape_mismatch", f"{reason}: {shapes}")


def _expected_shapes(layer_shapes: LayerShapes, ours: Shape, theirs: Shape) -> str | None:
    """What a method compares, where these layers are something else; None where they fit."""
    match layer_shapes:
        case "any":
            return None
        case "maps":
            return None if len(ours) == len(theirs) == 3 else "maps [channels, height, width]"
        case "tokens":
            fits = len(ours) == len(theirs) == 2 and ours[0] == theirs[0]
            return None if fits else "layers [tokens, width] of as many tokens"
        case "same_kind":
            fits = len(ours) == len(theirs) and (len(ours) != 2 or ours[0] == theirs[0])
            return None if fits else "maps with maps, vectors with vectors, and tokens with as many tokens"
        case "equal":
            fits = ours == theirs
            return None if fits else f"layers of one shape (end the student's `hidden` with {theirs[-1]})"
        case _:
            assert_never(layer_shapes)
