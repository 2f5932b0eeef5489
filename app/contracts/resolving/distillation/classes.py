"""Which classes of a teacher are the dataset's: as the spec says, or by their names where both have them."""

from collections.abc import Mapping, Sequence

from app.contracts.resolving.data.class_names import names_of
from app.contracts.resolving.data.targets import Goal, class_names, named_class
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.resolving.students.inits import starting_tensors, tensors
from app.contracts.resources.facts import ModelFacts, OutputFacts
from app.contracts.resources.manifests import ExclusiveOutput
from app.contracts.specs.architectures import Architecture, Init
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.jobs import TeacherRef
from app.contracts.specs.sharing import scheme_of
from app.contracts.specs.stores import StoreSpec
from app.contracts.specs.supervision.metrics import CLASS_KINDS


def output_of(ref: TeacherRef, facts: ModelFacts | OutputFacts | None) -> OutputFacts | None:
    """The teacher's output that the reference names, with all of its classes; None where unknown."""
    return facts.outputs.get(ref.output or "") if isinstance(facts, ModelFacts) else facts


def taught_output(ref: TeacherRef, facts: ModelFacts | OutputFacts | None, goal: Goal | None) -> OutputFacts | None:
    """The output that a resolved teacher teaches with: that of the goal's classes where `classes` selects them."""
    output = output_of(ref, facts)
    if output is None or ref.classes is None or goal is None or not isinstance(output.spec, ExclusiveOutput):
        return output
    return OutputFacts(spec=output.spec.model_copy(update={"classes": goal.classes}), size=len(ref.classes))


def with_classes(
    ref: TeacherRef,
    facts: ModelFacts | OutputFacts | None,
    goal: Goal,
    from_dataset: bool,
    findings: Findings,
    pointer: str,
) -> TeacherRef:
    """The reference with `classes` as the index of the teacher's class for each class of the goal, in their order.

    `from_dataset`: whether the goal is a target of the dataset, whose classes can be mapped.
    """
    output = output_of(ref, facts)
    if output is None:
        return ref
    theirs = names_of(output.spec)
    if ref.classes is None:
        return _matched_by_name(ref, theirs, goal, findings, pointer)
    place = f"{pointer}/classes"
    if output.spec.kind != goal.kind or goal.kind not in CLASS_KINDS or not from_dataset:
        findings.problem(
            place,
            "no_classes",
            "`classes` says which of a teacher's classes are those of a target of the dataset with such classes: "
            + ("the dataset has no such target" if not from_dataset else "this task or teacher has no such classes")
            + ": leave it out",
        )
        return ref
    wanted = _in_order(ref.classes, goal, findings, place)
    if wanted is None:
        return ref
    columns = [_index(each, theirs, output.size, findings, place) for each in wanted]
    known = [index for index in columns if index is not None]
    if len(known) < len(columns):
        return ref
    doubled = sorted({index for index in known if known.count(index) > 1}) if len(set(known)) < len(known) else []
    if doubled:
        findings.problem(
            place, "duplicate_class", f"two classes of the dataset are class {doubled[0]} of the teacher: name another"
        )
        return ref
    return ref.model_copy(update={"classes": tuple(known)})


def _matched_by_name(
    ref: TeacherRef, theirs: tuple[str, ...] | None, goal: Goal, findings: Findings, pointer: str
) -> TeacherRef:
    """Classes matched by name, where the teacher has all of the goal's names, but not as they are."""
    if theirs is None or goal.kind not in CLASS_KINDS:
        return ref
    ours = class_names(goal)
    if theirs == ours or not set(ours) <= set(theirs):
        return ref
    columns = tuple(theirs.index(name) for name in ours)
    shown = ", ".join(f"`{name}` is its class {index}" for name, index in zip(ours[:5], columns, strict=False))
    rest = f"; its other {len(theirs) - len(columns)} classes are left out" if len(theirs) > len(columns) else ""
    findings.warn(
        "classes_matched_by_name",
        f"the classes of the teacher at `{pointer}` were matched to those of `{goal.name}` by name: {shown}"
        + (" …" if len(columns) > 5 else "")
        + rest,
    )
    return ref.model_copy(update={"classes": columns})


def _in_order(
    classes: Sequence[int | str] | Mapping[str, int | str], goal: Goal, findings: Findings, place: str
) -> Sequence[int | str] | None:
    """The teacher's class for each class of the goal; None, and a problem, where one is missing or unknown."""
    names = class_names(goal)
    if not isinstance(classes, Mapping):
        if len(classes) == goal.size:
            return classes
        detail = f"`{goal.name}` has {goal.size} classes, found {len(classes)}: give the teacher's class of each"
        findings.problem(place, "classes_incomplete", detail)
        return None
    by_name = {named_class(key, names): value for key, value in classes.items()}
    unknown, missing = set(by_name) - set(names), set(names) - set(by_name)
    if unknown or missing or len(by_name) < len(classes):
        what = f"unknown: {quoted(unknown)}" if unknown else f"not named: {quoted(missing)}"
        findings.problem(
            place,
            "classes_incomplete",
            f"expected every class of `{goal.name}` once, {what}: name {quoted(names)}",
        )
        return None
    return [by_name[name] for name in names]


def _index(wanted: int | str, theirs: tuple[str, ...] | None, size: int, findings: Findings, place: str) -> int | None:
    if isinstance(wanted, str) and theirs is not None and wanted in theirs:
        return theirs.index(wanted)
    if isinstance(wanted, int) and wanted < size:
        return wanted
    known = f"from 0 to {size - 1}" if theirs is None else f"{quoted(theirs)}, or from 0 to {size - 1}"
    findings.problem(place, "unknown_class", f"the teacher has no class `{wanted}`: its classes are {known}")
    return None


def check_reused_classes(
    teachers: Sequence[TeacherRef], distillation: DistillationSpec, store: StoreSpec, findings: Findings, pointer: str
) -> None:
    """Selected classes need every score of the teacher, and a head of its own for the student."""
    selected = [i for i, ref in enumerate(teachers) if ref.classes is not None]
    if selected and store.top_k is not None:
        findings.problem(
            f"{pointer}/teachers/{selected[0]}",
            "needs_all_scores",
            "a selection of this teacher's classes needs every score, and `store.top_k` keeps the largest only: leave "
            "`store.top_k` out",
        )
    for i, term in enumerate(distillation.features or ()):
        if term.reuses_head and term.teacher in selected:
            findings.problem(
                f"{pointer}/distillation/features/{i}/method",
                "classes_differ",
                f"`{term.method}` gives the student the teacher's head, whose classes are others or in another order: "
                "use another method",
            )


def check_started_classes(
    init: Init,
    student: Architecture,
    teachers: Sequence[TeacherRef],
    facts: Sequence[ModelFacts | OutputFacts | None],
    findings: Findings,
    pointer: str,
) -> None:
    """A student does not start from the head of a teacher whose classes are others or in another order."""
    if init.teacher >= len(teachers):
        return
    ref, known = teachers[init.teacher], facts[init.teacher]
    if ref.classes is None or not isinstance(known, ModelFacts) or known.architecture is None:
        return
    theirs = known.architecture
    alone = len(theirs.outputs or {}) == 1 and scheme_of(theirs.sharing) is None
    head = f"{theirs.trunk().head_name if alone else f'heads.{ref.output}'}."
    pairs = starting_tensors(init, tensors(student), tensors(theirs))
    if any(name.startswith(head) for name in pairs.values()):
        findings.problem(
            f"{pointer}/layers",
            "classes_differ",
            f"`{head}*` of the teacher are for its classes, which are others or in another order than the dataset's: "
            "name the `layers` to start from without them",
        )
