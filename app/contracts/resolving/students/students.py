"""Does the requested network fit the data: input shape, outputs, and what its family requires."""

from math import prod
from typing import TypeVar, cast

from app.contracts.resolving.data.inputs import shapes_of, student_inputs
from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.multitask.sharing import check_sharing
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.architectures import Architecture
from app.contracts.specs.sharing import resolved_sharing


def _input_shape(arch: Architecture, data: tuple[int, ...], findings: Findings, pointer: str) -> tuple[int, ...] | None:
    shape = arch.input_shape or data
    if prod(shape) != prod(data):
        findings.problem(
            f"{pointer}/input_shape",
            "shape_mismatch",
            f"a row of the dataset has shape {list(data)} ({prod(data)} numbers), the architecture expects "
            f"{list(shape)}: leave `input_shape` out to take the dataset's",
        )
        return None
    sides = arch.input_sides
    if sides is not None and len(shape) != len(sides):
        findings.problem(
            f"{pointer}/input_shape",
            "shape_mismatch",
            f"a {arch.family} needs rows of shape [{', '.join(sides)}], found {list(shape)}: give "
            f"`input_shape` here or `shape` in the dataset's manifest",
        )
        return None
    return shape


def _outputs(arch: Architecture, goals: list[Goal], findings: Findings, pointer: str) -> dict[str, int]:
    expected = {goal.name: goal.size for goal in goals}
    if arch.outputs is not None and dict(arch.outputs) != expected:
        findings.problem(
            f"{pointer}/outputs",
            "outputs_mismatch",
            f"the tasks need outputs {expected}, found {dict(arch.outputs)}: leave `outputs` out to take the tasks'",
        )
    return expected


_Network = TypeVar("_Network", bound=Architecture)


def fitted(arch: _Network, dataset: DatasetFacts, goals: list[Goal], findings: Findings, pointer: str) -> _Network:
    """The architecture with input shape and outputs filled in from dataset and tasks, and defaults that depend on
    other fields; misfits become problems.
    """
    names, data, problem = student_inputs(arch.inputs, shapes_of(dataset))
    if problem is not None:
        findings.problem(f"{pointer}/inputs", problem.code, problem.detail)
        return arch
    shape = _input_shape(arch, data, findings, pointer)
    outputs = _outputs(arch, goals, findings, pointer)
    if shape is None:
        return arch
    for problem in arch.misfits(shape):
        findings.problem(f"{pointer}{problem.pointer}", problem.code, problem.detail)
    tasks = tuple(outputs)
    check_sharing(arch.model_copy(update={"input_shape": shape, "outputs": outputs}), tasks, findings, pointer)
    sharing = resolved_sharing(arch.sharing, tasks)
    update = {"input_shape": shape, "outputs": outputs, "sharing": sharing, **arch.dependent_defaults()}
    if len(dataset.inputs) > 1:
        update["inputs"] = names
    return cast(_Network, arch.model_copy(update=update))
