"""Do the layers that feature terms name exist, and do their shapes go together?"""

from collections.abc import Sequence

from app.contracts.layouts.cuts import reached_layers
from app.contracts.layouts.summary import layers_of
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.multitask.sharing import own_layer
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.distillation import FeatureTerm, RelationsTerm
from app.contracts.specs.sharing import scheme_of

Shape = tuple[int, ...]
_PICTURES = ("attention",)
_TOKENS = ("hidden_states", "relations")
_SAME_KIND = ("fitnets",)


def check_features(
    terms: Sequence[FeatureTerm],
    teachers: Sequence[ModelFacts | OutputFacts | None],
    taught: Sequence[str | None],
    student: Architecture,
    task: str,
    findings: Findings,
    pointer: str,
) -> None:
    """Problems for layers that are not there or do not fit a task of the student, which is resolved.

    `teachers` are None where unknown, and `taught` are the outputs that they teach by.
    """
    ours = reached_layers(student, task)
    whose = "the student" if scheme_of(student.sharing) is None else f"what `{task}` reaches of the student"
    for i, term in enumerate(terms):
        place = f"{pointer}/features/{i}"
        shape = _layer(ours, term.student_layer, findings, f"{place}/student_layer", whose)
        theirs = _teacher_layer(term, teachers, taught, findings, place)
        if shape is not None and theirs is not None:
            _check_shapes(term, shape, theirs, findings, place)


def _teacher_layer(
    term: FeatureTerm,
    teachers: Sequence[ModelFacts | OutputFacts | None],
    taught: Sequence[str | None],
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
    if term.method == "simkd" and isinstance(facts, ModelFacts) and facts.architecture is None:
        findings.problem(f"{place}/teacher", "no_layers", "`simkd` reuses a head, and a graph has none to take")
        return None
    if isinstance(facts, OutputFacts):
        findings.problem(
            f"{place}/teacher", "no_layers", "this teacher is a column of the dataset, which has outputs and no layers"
        )
        return None
    name, output = term.teacher_layer, taught[term.teacher]
    if facts.architecture is not None and output is not None:
        name = own_layer(facts.architecture, output, name)
    return _layer(layers_of(facts), name, findings, f"{place}/teacher_layer", "the teacher")


def _layer(known: dict[str, Shape | None], name: str, findings: Findings, place: str, whose: str) -> Shape | None:
    if name not in known:
        findings.problem(place, "unknown_layer", f"{whose} has no layer `{name}`: it has {quoted(known)}")
        return None
    shape = known[name]
    if shape is None:
        findings.problem(place, "open_shape", f"the graph of {whose} does not say the shape of `{name}`: tap another")
    return shape


def _check_shapes(term: FeatureTerm, ours: Shape, theirs: Shape, findings: Findings, place: str) -> None:
    if term.method == "simkd" and ours != theirs:
        findings.problem(
            place,
            "shape_mismatch",
            f"`simkd` reuses the teacher's head, which reads {theirs[0]} numbers, and the student's last layer has "
            f"{ours[0]}: end the student's `hidden` with {theirs[0]}",
        )
    said = f"the student's layer has shape {list(ours)}, the teacher's {list(theirs)}"
    if term.method in _PICTURES and (len(ours), len(theirs)) != (3, 3):
        findings.problem(place, "shape_mismatch", f"`{term.method}` compares maps [channels, height, width]: {said}")
    elif term.method in _TOKENS and not _same_tokens(ours, theirs):
        findings.problem(
            place, "shape_mismatch", f"`{term.method}` compares layers [tokens, width] of as many tokens: {said}"
        )
    elif term.method in _SAME_KIND and len(ours) != len(theirs):
        findings.problem(
            place, "shape_mismatch", f"`{term.method}` projects maps to maps and vectors to vectors: {said}"
        )
    elif term.method in _SAME_KIND and len(ours) == 2 and not _same_tokens(ours, theirs):
        findings.problem(place, "shape_mismatch", f"`{term.method}` compares as many tokens on both sides: {said}")
    elif isinstance(term, RelationsTerm) and (ours[1] % term.heads or theirs[1] % term.heads):
        findings.problem(f"{place}/heads", "shape_mismatch", f"{term.heads} heads do not divide both widths: {said}")


def _same_tokens(ours: Shape, theirs: Shape) -> bool:
    return (len(ours), len(theirs)) == (2, 2) and ours[0] == theirs[0]
