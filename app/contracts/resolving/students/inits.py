"""May a student start from a teacher's layers: do they exist, and have they its shapes?"""

from collections.abc import Mapping, Sequence

from app.contracts.layouts.layouts import buffer_shapes, parameter_shapes
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.multitask.sharing import sharing_misfits
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.specs.architectures import Architecture, Init
from app.contracts.specs.sharing import scheme_of

Shapes = Mapping[str, tuple[int, ...]]


def tensors(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Parameters and buffers by name."""
    return {**parameter_shapes(architecture), **buffer_shapes(architecture)}


def starting_tensors(init: Init, ours: Shapes, theirs: Shapes) -> dict[str, str]:
    """The student's tensor -> the teacher's that it starts as. A prefix stands for whole layers."""
    if init.layers is None:
        return {name: name for name, shape in ours.items() if theirs.get(name) == shape}
    found = {}
    for own, other in init.layers.items():
        for name in ours:
            if name == own or name.startswith(f"{own}."):
                found[name] = other + name[len(own) :]
    return found


def check_init(
    init: Init,
    student: Architecture,
    teachers: Sequence[ModelFacts | OutputFacts | None],
    findings: Findings,
    pointer: str,
) -> None:
    """Problems for layers that are not there or have other shapes; `student` is resolved."""
    if init.teacher >= len(teachers):
        findings.problem(
            f"{pointer}/from", "unknown_teacher", f"there are {len(teachers)} teachers: none is number {init.teacher}"
        )
        return
    facts = teachers[init.teacher]
    if facts is None:
        findings.unknown()
        return
    if isinstance(facts, OutputFacts) or facts.architecture is None:
        findings.problem(
            f"{pointer}/from", "no_layers", "only a teacher of one of the families has layers to start from"
        )
        return
    if sharing_misfits(student) or _share_otherwise(init, student, facts.architecture, findings, pointer):
        return
    ours, theirs = tensors(student), tensors(facts.architecture)
    pairs = starting_tensors(init, ours, theirs)
    if not pairs:
        findings.problem(
            f"{pointer}/layers",
            "unknown_layer",
            f"no layer of the student and the teacher goes together: the student has {quoted(ours)}, the teacher "
            f"{quoted(theirs)}",
        )
    for own, other in pairs.items():
        if theirs.get(other) != ours[own]:
            found = list(theirs[other]) if other in theirs else "no such tensor"
            findings.problem(
                f"{pointer}/layers",
                "shape_mismatch",
                f"`{own}` of the student has shape {list(ours[own])}, `{other}` of the teacher: {found}",
            )


def _share_otherwise(
    init: Init, student: Architecture, teacher: Architecture, findings: Findings, pointer: str
) -> bool:
    """Without names only what is called alike is taken. Where student and teacher share by different schemes that is
    no trunk, at most heads, which would read features that they do not know.
    """
    ours, theirs = scheme_of(student.sharing), scheme_of(teacher.sharing)
    if init.layers is not None or (ours and ours.method) == (theirs and theirs.method):
        return False
    shown = [scheme.method if scheme is not None else "hard" for scheme in (ours, theirs)]
    named = next((name for name in tensors(student) if name.endswith("weight")), "").removesuffix(".weight")
    findings.problem(
        f"{pointer}/layers",
        "layers_needed",
        f"the student shares by `{shown[0]}` and the teacher by `{shown[1]}`, so their layers have other names: say "
        f"which starts as which, such as `{named}` as a layer of the teacher",
    )
    return True
