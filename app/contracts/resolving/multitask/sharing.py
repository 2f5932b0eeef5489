"""Does the sharing scheme fit the network and its tasks? For specs at submission, and for uploads."""

from functools import partial
from typing import assert_never

from app.contracts.layouts.layer_table import TableWriter
from app.contracts.problems import Problem
from app.contracts.resolving.findings import Findings, quoted
from app.contracts.specs.architectures import FAMILIES, Architecture
from app.contracts.specs.distillation import DistillationSpec
from app.contracts.specs.sharing import (
    MOST_TENSORS,
    CgcSharing,
    CrossStitchSharing,
    MmoeSharing,
    MtanSharing,
    Scheme,
    TrunksSharing,
    scheme_of,
)


def sharing_misfits(architecture: Architecture) -> list[Problem]:
    """What is wrong with how a network of these outputs shares; pointers start at the architecture."""
    scheme, outputs = scheme_of(architecture.sharing), set(architecture.outputs or {})
    if scheme is None:
        return []
    problems = [*_of_family(scheme, architecture), *_of_names(scheme, outputs)]
    return problems or _of_size(scheme, architecture)


def _of_names(scheme: Scheme, outputs: set[str]) -> list[Problem]:
    match scheme:
        case TrunksSharing():
            return _names("groups", [name for group in scheme.groups for name in group], outputs, exactly=True)
        case CrossStitchSharing():
            return _names("towers", list(scheme.towers), outputs, exactly=False) if scheme.towers is not None else []
        case MmoeSharing() | CgcSharing() | MtanSharing():
            return []
        case _:
            assert_never(scheme)


def _of_family(scheme: Scheme, architecture: Architecture) -> list[Problem]:
    family = architecture.family
    if isinstance(scheme, MtanSharing) and not architecture.has_feature_maps:
        convolutional = " or ".join(f"a {name}" for name, each in FAMILIES.items() if each.has_feature_maps)
        detail = (
            f"`mtan` masks the maps of convolutional stages, and a {family} has none: use {convolutional}, or "
            "`cross_stitch`, `mmoe` or `cgc`"
        )
        return [_problem("", "sharing_undefined", detail)]
    if not architecture.trunk().parts:
        detail = (
            f"`{scheme.method}` needs a trunk, and this {family} has no layers before its heads: give it some, or "
            "leave `sharing` out"
        )
        return [_problem("", "sharing_undefined", detail)]
    return []


def _of_size(scheme: Scheme, architecture: Architecture) -> list[Problem]:
    writer = TableWriter()
    writer.add(architecture.trunk().parts)
    tensors, trunks = len(writer.table.parameters) + len(writer.table.buffers), _trunks(scheme, architecture)
    if tensors * trunks <= MOST_TENSORS:
        return []
    detail = f"{trunks} trunks of {tensors} tensors are more than the {MOST_TENSORS} tensors that a model may have: "
    return [_problem("", "sharing_too_large", detail + "use fewer trunks, or shallower ones")]


def _trunks(scheme: Scheme, architecture: Architecture) -> int:
    tasks = len(architecture.outputs or {})
    match scheme:
        case MmoeSharing():
            return scheme.experts
        case CgcSharing():
            return scheme.shared + scheme.own * tasks
        case TrunksSharing():
            return len(scheme.groups)
        case CrossStitchSharing():
            return len(scheme.towers or ()) or tasks
        case MtanSharing():
            return 1
        case _:
            assert_never(scheme)


def _names(field: str, named: list[str], outputs: set[str], *, exactly: bool) -> list[Problem]:
    """`exactly`: no other names than those of outputs. A cut has towers of tasks without an output."""
    doubled = {name for name in named if named.count(name) > 1}
    unknown, missing = (set(named) - outputs if exactly else set()), outputs - set(named)
    parts = [
        f"{word} {quoted(names)}"
        for word, names in (("named twice:", doubled), ("no task:", unknown), ("missing:", missing))
        if names
    ]
    if not parts:
        return []
    detail = f"`{field}` must name each task exactly once ({quoted(outputs)}); {'; '.join(parts)}"
    return [_problem(f"/{field}", "sharing_mismatch", detail)]


def _problem(pointer: str, code: str, detail: str) -> Problem:
    return Problem(pointer=f"/sharing{pointer}", code=code, detail=detail)


def check_sharing(architecture: Architecture, tasks: tuple[str, ...], findings: Findings, pointer: str) -> None:
    """Problems of how a job's network shares; `architecture` has the tasks as its outputs."""
    scheme = scheme_of(architecture.sharing)
    if scheme is None:
        return
    if len(tasks) == 1:
        detail = f"`{scheme.method}` shares between tasks, and this network learns one: leave `sharing` out"
        findings.problem(f"{pointer}/sharing", "sharing_needs_tasks", detail)
        return
    problems = sharing_misfits(architecture)
    if isinstance(scheme, CrossStitchSharing) and scheme.towers is not None and not problems:
        problems = _names("towers", list(scheme.towers), set(tasks), exactly=True)
    for problem in problems:
        findings.problem(f"{pointer}{problem.pointer}", problem.code, problem.detail)


def own_layer(architecture: Architecture, output: str, layer: str) -> str:
    """The layer that `penultimate` refers to: where each head reads features of its own, those of this output."""
    shared_by_all = scheme_of(architecture.sharing) is None
    return layer if layer != "penultimate" or shared_by_all else f"penultimate.{output}"


def with_own_layers(spec: DistillationSpec, student: Architecture, task: str) -> DistillationSpec:
    """The terms of one task with `penultimate` replaced by the student's layer of that task."""
    rename = partial(own_layer, student, task)
    named = {
        field: tuple(term.with_student_layers(rename) for term in terms)
        for field, terms in (("soft_targets", spec.soft_targets), ("features", spec.features))
        if terms
    }
    return spec.model_copy(update=named) if named else spec
