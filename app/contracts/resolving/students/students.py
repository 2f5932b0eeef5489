"""Does the requested network fit the data: input shape, outputs, and what its family requires."""

from math import prod
from typing import TypeVar, cast

from app.contracts.resolving.data.channels import warn_of_channels
from app.contracts.resolving.data.forms import form_of_files
from app.contracts.resolving.data.inputs import shapes_of, student_inputs
from app.contracts.resolving.data.targets import Goal
from app.contracts.resolving.data.texts import texts_unread
from app.contracts.resolving.findings import Findings
from app.contracts.resolving.multitask.sharing import check_sharing
from app.contracts.resolving.recipe.pooling import with_pooling
from app.contracts.resources.facts import DatasetFacts, InputFacts
from app.contracts.resources.inputs.audio import AudioForm
from app.contracts.resources.manifests import MAX_STATISTICS
from app.contracts.resources.row_layouts import RowLayout, assumed_order, misfit, moved_grey_rows, way_out
from app.contracts.specs.architectures import Architecture, Convnet
from app.contracts.specs.families.convnet import map_misfits
from app.contracts.specs.families.library import LibraryArchitecture
from app.contracts.specs.sharing import resolved_sharing

_Network = TypeVar("_Network", bound=Architecture)


def _input_shape(
    arch: Architecture,
    data: tuple[int, ...],
    layout: RowLayout | None,
    standardized: bool,
    findings: Findings,
    pointer: str,
) -> tuple[int, ...] | None:
    """The shape of the student's rows, for rows of shape `data`; None where they do not fit."""
    shape = arch.input_shape or data
    code = misfit(data, shape)
    if code is not None:
        findings.problem(
            f"{pointer}/input_shape",
            code,
            f"a row of the dataset has shape {list(data)}, the architecture expects {list(shape)}: leave `input_shape` "
            f"out to take the dataset's, or {way_out(data, shape)}",
        )
        return None
    if standardized and shape[0] != data[0] and prod(shape) > MAX_STATISTICS:
        findings.problem(
            f"{pointer}/input_shape",
            "shape_mismatch",
            f"rows of shape {list(data)} are standardised for each of {data[0]} elements of the first side; read as "
            f"{list(shape)} that needs {prod(shape)} means, {MAX_STATISTICS} at most: leave `input_shape` out",
        )
        return None
    moved = moved_grey_rows(layout, data, shape)
    if moved is not None:
        findings.problem(f"{pointer}/input_shape", "layout_mismatch", moved)
        return None
    note = assumed_order(data, shape)
    if note is not None:
        findings.warn("order_assumed", f"{note} (of `{pointer}`)")
    return shape


def _sides_misfit(arch: Architecture, names: tuple[str, ...], shape: tuple[int, ...], dataset: DatasetFacts) -> str:
    """What is wrong with rows of another number of dimensions than the network takes, read from these inputs; empty
    where nothing is.
    """
    expected = arch.sides_misfit(shape)
    if expected is None:
        return ""
    who = f"{arch.family}'s `{arch.name}`" if isinstance(arch, LibraryArchitecture) else f"a {arch.family}"
    return f"{who} needs rows of shape {expected}, found {list(shape)}: {_rows_for(arch, names, dataset)}"


def _rows_for(arch: Architecture, names: tuple[str, ...], dataset: DatasetFacts) -> str:
    """How rows come to have as many dimensions as the network takes: by other inputs, or other features of sounds."""
    numbers = [name for name, facts in dataset.inputs.items() if facts.tokens is None and name not in names]
    others = [name for name in numbers if arch.sides_misfit(dataset.inputs[name].shape) is None]
    if arch.input_shape is None and others:
        return f'select what it reads, such as "inputs": ["{others[0]}"]'
    form = form_of_files(dataset.inputs[names[0]])
    if arch.input_shape is not None or len(names) > 1 or not isinstance(form, AudioForm):
        return "give `input_shape` here or `shape` in the dataset's manifest"
    wanted = '`{"mels": 64}` or `{"kind": "fbank"}`' if form.features == "samples" else '`"samples"`'
    return (
        f"give the dataset an input of its sounds with the `features` {wanted}, in place of `{names[0]}` or beside it"
    )


def _outputs(arch: Architecture, goals: list[Goal], findings: Findings, pointer: str) -> dict[str, int]:
    expected = {goal.name: goal.size for goal in goals}
    if arch.outputs is not None and dict(arch.outputs) != expected:
        findings.problem(
            f"{pointer}/outputs",
            "outputs_mismatch",
            f"the tasks need outputs {expected}, found {dict(arch.outputs)}: leave `outputs` out to take the tasks'",
        )
    return expected


def _with_maps(
    arch: _Network, input_shape: tuple[int, ...], goals: list[Goal], findings: Findings, pointer: str
) -> _Network:
    """The architecture with the sizes of the outputs that are maps; problems where it has no heads for them."""
    shapes = {goal.name: goal.shape for goal in goals if goal.shape is not None}
    if not isinstance(arch, Convnet):
        for name in shapes:
            findings.problem(
                f"{pointer}/family",
                "map_undefined",
                f"expected a network with a head for each pixel, for the map `{name}`, found one of the family "
                f'`{arch.family}`: use `"family": "convnet"`',
            )
        return arch
    if arch.maps is not None and dict(arch.maps) != shapes:
        findings.problem(
            f"{pointer}/maps",
            "outputs_mismatch",
            f"the tasks have maps of shapes {shapes}, found {dict(arch.maps)}: leave `maps` out to take the tasks'",
        )
    fitted = arch.model_copy(update={"maps": shapes or None})
    known = fitted.model_copy(update={"input_shape": input_shape})
    for problem in map_misfits(known, {goal.name for goal in goals}):
        findings.problem(f"{pointer}{problem.pointer}", problem.code, problem.detail)
    return cast(_Network, fitted)


def _check_layout(arch: Architecture, rows: InputFacts, shape: tuple[int, ...], findings: Findings) -> None:
    """Warn where the network, or the statistics of `standardize`, take the first side for the channels."""
    if any(len(sides) == len(shape) and sides[0] == "channels" for sides in arch.input_sides):
        warn_of_channels(rows, shape, f"a {arch.family}", findings)
    if rows.standardize and rows.because is None:
        warn_of_channels(rows, rows.shape, "`standardize`, with a mean for each", findings)


def _is_standardized_by_element(rows: InputFacts) -> bool:
    return rows.standardize and (rows.mean is None or len(rows.mean) > 1)


def _of_texts(arch: _Network, dataset: DatasetFacts, goals: list[Goal], findings: Findings, pointer: str) -> _Network:
    """A network that reads tokens, with its outputs; `with_tokens` has given it the length of a row."""
    outputs = _outputs(arch, goals, findings, pointer)
    shape = arch.input_shape
    if shape is None:
        return arch
    arch = _with_maps(arch, shape, goals, findings, pointer)
    for problem in arch.misfits(shape):
        findings.problem(f"{pointer}{problem.pointer}", problem.code, problem.detail)
    sharing = resolved_sharing(arch.sharing, tuple(outputs))
    selected = {"inputs": arch.inputs} if len(dataset.inputs) > 1 else {}
    return cast(_Network, arch.model_copy(update={"outputs": outputs, "sharing": sharing, **selected}))


def fitted(arch: _Network, dataset: DatasetFacts, goals: list[Goal], findings: Findings, pointer: str) -> _Network:
    """The architecture with input shape and outputs filled in from dataset and tasks, and defaults that depend on
    other fields; misfits become problems.
    """
    names, data, problem = student_inputs(arch.inputs, shapes_of(dataset))
    if problem is not None:
        findings.problem(f"{pointer}/inputs", problem.code, problem.detail)
        return arch
    if arch.reads == "tokens":
        return _of_texts(arch, dataset, goals, findings, pointer)
    unread = texts_unread(names, dataset.inputs)
    if unread is not None:
        findings.problem(f"{pointer}/family", "input_mismatch", unread)
        return arch
    layout = dataset.inputs[names[0]].layout if len(names) == 1 else None
    standardized = any(_is_standardized_by_element(dataset.inputs[name]) for name in names)
    shape = _input_shape(arch, data, layout, standardized, findings, pointer)
    outputs = _outputs(arch, goals, findings, pointer)
    wrong = _sides_misfit(arch, names, shape, dataset) if shape is not None else ""
    if wrong:
        findings.problem(f"{pointer}/input_shape", "shape_mismatch", wrong)
    if shape is None or wrong:
        return arch
    if len(names) == 1:
        _check_layout(arch, dataset.inputs[names[0]], shape, findings)
    arch = _with_maps(arch, shape, goals, findings, pointer)
    misfits = arch.misfits(shape)
    for problem in misfits:
        findings.problem(f"{pointer}{problem.pointer}", problem.code, problem.detail)
    if not misfits:
        arch = with_pooling(arch, shape, outputs, findings, pointer)
    tasks = tuple(outputs)
    check_sharing(arch.model_copy(update={"input_shape": shape, "outputs": outputs}), tasks, findings, pointer)
    sharing = resolved_sharing(arch.sharing, tasks)
    update = {"input_shape": shape, "outputs": outputs, "sharing": sharing, **arch.dependent_defaults()}
    if len(dataset.inputs) > 1:
        update["inputs"] = names
    return cast(_Network, arch.model_copy(update=update))
