"""Do the layers that terms name exist, are they in order, and do their shapes go together?"""

from collections.abc import Sequence
from itertools import pairwise
from typing import assert_never

from app.contracts.base import Shape
from app.contracts.layouts.cuts import reached_layers
from app.contracts.layouts.summary import layers_of
from app.contracts.resolving.data.texts import tokens_of
from app.contracts.resolving.distillation.layer_owners import LayerOwner
from app.contracts.resolving.distillation.token_layers import Sides, compared_shapes
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.multitask.sharing import with_own_layers
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.resources.inputs.texts import TokenEncoding
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.distillation import DistillationSpec, FeatureTerm, LayerShapes, SoftTargetTerm
from app.contracts.specs.families.layer_pairs import LayerPair
from app.contracts.specs.sharing import scheme_of


def check_layers(
    distillation: DistillationSpec,
    teachers: Sequence[ModelFacts | OutputFacts | None],
    outputs: Sequence[str | None],
    student: Architecture,
    task: str,
    findings: Findings,
    pointer: str,
    tokens: TokenEncoding | None = None,
) -> None:
    """Problems for layers that are not there or do not fit a task of the student, which is resolved.

    `teachers` are None where unknown; `outputs` are the names of the outputs that they teach with. `tokens`: how the
    student reads a text; None for a network of numbers, and where it is not known yet.
    """
    spec = with_own_layers(distillation, student, task)
    if not spec.features and not any(term.exit_layers for term in spec.soft_targets or ()):
        return
    shared = scheme_of(student.sharing) is None
    owner = "the student" if shared else f"the part of the student that `{task}` uses"
    ours = LayerOwner(owner, "student", student, reached_layers(student, task), tokens=tokens)
    for i, soft_target in enumerate(spec.soft_targets or ()):
        _check_exits(soft_target, ours, findings, f"{pointer}/soft_targets/{i}")
    for i, term in enumerate(spec.features or ()):
        place = f"{pointer}/features/{i}"
        theirs = _teacher(term, teachers, outputs, findings, place)
        _check_pairs(term, ours, theirs, findings, place)


def _check_exits(term: SoftTargetTerm, ours: LayerOwner, findings: Findings, pointer: str) -> None:
    """The layers of the student from which a soft target makes predictions."""
    for i, name in enumerate(term.exit_layers):
        place = f"{pointer}/student_layers/{i}"
        shape = _layer(ours, name, findings, place)
        if shape is not None and ours.is_series(shape):
            _refuse_series(f"`{term.method}` predicts from", ours, "use `penultimate`", findings, place)
        if shape is not None and ours.is_by_token(shape):
            findings.problem(
                place,
                "shape_mismatch",
                f"`{term.method}` predicts from one vector a row, and this layer of the student has one for each token "
                "of a text: use `penultimate`",
            )
    _check_order(term.exit_layers, ours, findings, f"{pointer}/student_layers")


def _check_pairs(
    term: FeatureTerm, ours: LayerOwner, theirs: LayerOwner | None, findings: Findings, place: str
) -> None:
    if len(term.pairs) < term.min_pairs:
        findings.problem(
            f"{place}/layers",
            "too_few_layers",
            f"`{term.method}` expects {term.min_pairs} pairs of layers or more, found {len(term.pairs)}: name more, or "
            "use `fitnets` for one",
        )
    for at, pair in term.pairs.items():
        shape = _layer(ours, pair.student_layer, findings, f"{place}{at}/student_layer")
        if theirs is None:
            continue
        taught = _layer(theirs, theirs.own(pair.teacher_layer), findings, f"{place}{at}/teacher_layer")
        if shape is not None and taught is not None:
            _check_pair(term, pair, ((ours, shape), (theirs, taught)), findings, f"{place}{at}")
    _check_order([pair.student_layer for pair in term.pairs.values()], ours, findings, f"{place}/layers")
    if theirs is not None:
        names = [theirs.own(pair.teacher_layer) for pair in term.pairs.values()]
        _check_order(names, theirs, findings, f"{place}/layers")


def _check_pair(term: FeatureTerm, pair: LayerPair, sides: Sides, findings: Findings, place: str) -> None:
    if pair.pool is None:
        _check_series(term, sides, findings, place)
    compared = compared_shapes(term, pair, sides, findings, place)
    if compared is not None:
        _check_shapes(term, *compared, findings, place)


def _check_order(names: Sequence[str], owner: LayerOwner, findings: Findings, place: str) -> None:
    """Several layers of a network are in the order in which data pass them, and each is named once."""
    order = list(owner.layers)
    for before, after in pairwise(names):
        if before in order and after in order and order.index(before) >= order.index(after):
            findings.problem(
                place,
                "layers_out_of_order",
                f"expected layers of {owner.name} in the order in which data pass them, each once, found `{after}` "
                f"after `{before}`: name them in the order of the network",
            )
            return


def _check_series(term: FeatureTerm, sides: Sequence[tuple[LayerOwner, Shape]], findings: Findings, place: str) -> None:
    """Layers [channels, length] are neither maps nor tokens, whose shapes have as many dimensions."""
    for owner, shape in sides:
        if term.layer_shapes != "any" and owner.is_series(shape):
            way_out = "use `penultimate`, or `similarity` or `rkd`, which take any layer"
            _refuse_series(f"`{term.method}` compares", owner, way_out, findings, f"{place}/{owner.side}_layer")


def _refuse_series(what: str, owner: LayerOwner, way_out: str, findings: Findings, place: str) -> None:
    findings.problem(
        place,
        "shape_mismatch",
        f"{what} maps, tokens or vectors, and this layer of the {owner.side} is a series [channels, length]: {way_out}",
    )


def _teacher(
    term: FeatureTerm,
    teachers: Sequence[ModelFacts | OutputFacts | None],
    outputs: Sequence[str | None],
    findings: Findings,
    place: str,
) -> LayerOwner | None:
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
    tokens = tokens_of(facts)
    return LayerOwner("the teacher", "teacher", facts.architecture, layers_of(facts), outputs[term.teacher], tokens)


def _layer(owner: LayerOwner, name: str, findings: Findings, place: str) -> Shape | None:
    if name not in owner.layers:
        detail = f"{owner.name} has no layer `{name}`: it has {quoted(owner.layers)}"
        findings.problem(place, "unknown_layer", detail)
        return None
    shape = owner.layers[name]
    if shape is None:
        detail = f"the graph of {owner.name} does not say the shape of `{name}`: tap another"
        findings.problem(place, "open_shape", detail)
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
        case "maps_or_vectors":
            fits = len(ours) == len(theirs) and len(ours) in (1, 3)
            return None if fits else "maps [channels, height, width] with maps, and vectors with vectors"
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
