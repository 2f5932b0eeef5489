"""Does the asked network fit the data: input shape, outputs, depth, heads."""

from math import prod
from typing import TypeVar, cast

from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.multitask.sharing import check_sharing
from app.contracts.resolving.students.transformers import misfits
from app.contracts.resources.facts import DatasetFacts
from app.contracts.specs.architectures import Architecture, Convnet, Mlp, Resnet, Transformer, row_sides
from app.contracts.specs.sharing import settled


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
    sides = row_sides(arch)
    if sides is not None and len(shape) != len(sides):
        findings.problem(
            f"{pointer}/input_shape",
            "shape_mismatch",
            f"a {arch.family} needs rows of shape [{', '.join(sides)}], found {list(shape)}: give "
            f"`input_shape` here or `shape` in the dataset's manifest",
        )
        return None
    return shape


def _deep_enough(arch: Architecture, shape: tuple[int, ...], findings: Findings, pointer: str) -> None:
    if isinstance(arch, Convnet) and min(shape[1:]) >> len(arch.channels) == 0:
        findings.problem(
            f"{pointer}/channels",
            "too_many_stages",
            f"{len(arch.channels)} stages halve {shape[1]}x{shape[2]} to nothing: at most "
            f"{min(shape[1:]).bit_length() - 1} stages fit",
        )
    if isinstance(arch, Resnet) and (arch.depth - 2) % 6:
        findings.problem(
            f"{pointer}/depth", "bad_depth", f"a resnet's depth is 6n+2 (8, 14, 20, 26, 32 …), found {arch.depth}"
        )
    if isinstance(arch, Transformer):
        for problem in misfits(arch, tokens=shape[0]):
            findings.problem(f"{pointer}{problem.pointer}", problem.code, problem.detail)


def _outputs(arch: Architecture, goals: list[Goal], findings: Findings, pointer: str) -> dict[str, int]:
    expected = {goal.name: goal.size for goal in goals}
    if arch.outputs is not None and dict(arch.outputs) != expected:
        findings.problem(
            f"{pointer}/outputs",
            "outputs_mismatch",
            f"the tasks need outputs {expected}, found {dict(arch.outputs)}: leave `outputs` out to take the tasks'",
        )
    return expected


_Network = TypeVar("_Network", bound=Mlp | Convnet | Resnet | Transformer)


def fitted(arch: _Network, dataset: DatasetFacts, goals: list[Goal], findings: Findings, pointer: str) -> _Network:
    """The architecture with input shape and outputs filled in from dataset and tasks, and defaults that depend on
    other fields; misfits become problems.
    """
    data = next(iter(dataset.inputs.values())).shape
    shape = _input_shape(arch, data, findings, pointer)
    outputs = _outputs(arch, goals, findings, pointer)
    if shape is None:
        return arch
    _deep_enough(arch, shape, findings, pointer)
    tasks = tuple(outputs)
    check_sharing(arch.model_copy(update={"input_shape": shape, "outputs": outputs}), tasks, findings, pointer)
    update: dict[str, object] = {"input_shape": shape, "outputs": outputs, "sharing": settled(arch.sharing, tasks)}
    if isinstance(arch, Transformer):
        update["feedforward"] = arch.inner
    return cast(_Network, arch.model_copy(update=update))
