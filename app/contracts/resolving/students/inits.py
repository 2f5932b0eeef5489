"""May a student start from a teacher's layers: do they exist, and are their shapes the student's?"""

from collections.abc import Mapping, Sequence

from app.contracts.layouts.summary import buffer_shapes, parameter_shapes
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
    """The student's tensors -> the teacher's that they are initialised from. A prefix selects whole layers."""
    if init.layers is None:
        return {name: name for name, shape in ours.items() if theirs.get(name) == shape}
    pairs = {}
    for own, other in init.layers.items():
        for name in ours:
            if name == own or name.startswith(f"{own}."):
                pairs[name] = other + name[len(own) :]
    return pairs


def check_init(
    init: Init,
    student: Architecture,
    teachers: Sequence[ModelFacts | OutputFacts | None],
    findings: Findings,
    pointer: str,
) -> None:
    """Problems for layers that do not exist or have other shapes; `student` is resolved."""
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
            f"{pointer}/from", "no_layers", "only a teacher of a known family has layers to start from: name another"
        )
        return
    if sharing_misfits(student) or _sharing_differs(init, student, facts.architecture, findings, pointer):
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
            shape = list(theirs[other]) if other in theirs else "no such tensor"
            findings.problem(
                f"{pointer}/layers",
                "shape_mismatch",
                f"`{own}` of the student has shape {list(ours[own])}, `{other}` of the teacher: {shape}",
            )


def _sharing_differs(
    init: Init, student: Architecture, teacher: Architecture, findings: Findings, pointer: str
) -> bool:
    """Whether layers must be named and are not. Without `layers` those of equal names are taken; between different
    sharing schemes these are at most heads, without the features for which they were trained.
    """
    ours, theirs = scheme_of(student.sharing), scheme_of(teacher.sharing)
    if init.layers is not None or (ours and ours.method) == (theirs and theirs.method):
        return False
    methods = [scheme.method if scheme is not None else "hard" for scheme in (ours, theirs)]
    example = next((name for name in tensors(student) if name.endswith("weight")), "").removesuffix(".weight")
    findings.problem(
        f"{pointer}/layers",
        "layers_needed",
        f"the student shares by `{methods[0]}` and the teacher by `{methods[1]}`, so their layers have other names: "
        f"say which starts as which, such as `{example}` as a layer of the teacher",
    )
    return True
