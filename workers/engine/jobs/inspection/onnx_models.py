"""Inspection of ONNX graphs: a single bounded file with known operators, run on a few rows; usable as teachers."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from time import monotonic

import numpy as np
import onnx
import onnx.shape_inference
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.facts import Layer, ModelFacts
from app.contracts.resources.manifests import ModelManifest
from workers.engine.evaluation.examples import RawModel, examples_of
from workers.engine.jobs.inspection.graphs.checks import check_closed, check_valid
from workers.engine.jobs.inspection.graphs.counting import stored_numbers
from workers.engine.jobs.inspection.graphs.errors import first_line, refuse
from workers.engine.jobs.inspection.graphs.folder import MAX_BYTES, is_zip, merged, write
from workers.engine.jobs.inspection.graphs.inputs import GraphInputs, check_shapes
from workers.engine.jobs.inspection.graphs.outputs import check_outputs, matched
from workers.engine.jobs.inspection.graphs.zipmap import cut_zip_maps
from workers.engine.jobs.inspection.reference import check_reference
from workers.engine.jobs.inspection.trial import RowKind, TrialFailedError, try_out
from workers.engine.models.onnx_graph import OnnxGraph
from workers.engine.teachers.consistency import tolerance_of

TRIAL_ROWS = 4
TRIAL_SECONDS = 20.0
"""Time limit for the trial rows, in case a graph loops forever."""
CONVERTED = "converted.onnx"
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def inspect_onnx_model(path: Path, manifest: ModelManifest, folder: Path | None = None) -> ModelFacts:
    """Check a graph, or a zip with a graph and its data, and run it. Raises UserError with the reason of the rejection.

    A graph that had to be changed to be used is written to `CONVERTED` in `folder` (that of the upload by default):
    with external data inside, or without its ZipMap.
    """
    begun = monotonic()
    model, changed = _parsed(path)
    changed = cut_zip_maps(model) or changed
    check_closed(model)
    check_valid(model)
    if changed:
        path = (folder or path.parent) / CONVERTED
        path.parent.mkdir(parents=True, exist_ok=True)
        write(model, path)
    graph = _opened(path)
    inputs = GraphInputs.of(graph, manifest)
    trial = _first_trial(graph, inputs)
    names = matched(manifest, trial.outputs)
    outputs = check_outputs(manifest, names, trial.outputs, TRIAL_ROWS)
    _check_open_sizes(graph, inputs, trial, names)
    graph.feeds = inputs.feeds(trial.shapes)
    tried = RawModel(
        inputs.layout(trial.shapes),
        {each.name: each.spec.transform for each in inputs.fed},
        _forward(graph, names),
    )

    def rows(kind: RowKind, count: int) -> Tensor:
        return inputs.rows(kind, count, trial.shapes, trial.largest)

    operators = {node.op_type for node in model.graph.node}
    plain = try_out(tried, rows, monotonic() - begun, tolerance_of(operators))
    check_reference(manifest, tried, open_inputs=inputs.open_names)
    single = inputs.fed[0] if len(inputs.fed) == 1 else None
    fixed = single is not None and not single.is_open
    return ModelFacts(
        architecture=None,
        input_shape=trial.shapes[single.name] if single is not None and fixed else None,
        inputs={name: spec.transform for name, spec in manifest.inputs.items() if spec.constant is None},
        input_shapes={each.name: each.row for each in inputs.fed},
        input_types={each.name: str(each.source.dtype) for each in inputs.fed},
        graph_inputs={each.name: each.source.name for each in inputs.fed},
        graph_outputs=names,
        constants=dict(inputs.constants),
        outputs=outputs,
        parameters=stored_numbers(model),
        layers=_layers(model),
        max_batch=graph.fixed_batch,
        examples=examples_of(plain),
    )


def _parsed(path: Path) -> tuple[onnx.ModelProto, bool]:
    """(the graph, whether it differs from the file)."""
    zipped = is_zip(path)
    if path.stat().st_size > MAX_BYTES:
        raise refuse(f"{path.stat().st_size} bytes, {MAX_BYTES} at most")
    try:
        model = merged(path) if zipped else onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise refuse("the file is not an ONNX protobuf") from None
    if not model.graph.node:
        raise refuse("the graph has no node")
    return model, zipped


def _opened(path: Path) -> OnnxGraph:
    try:
        return OnnxGraph(path, threads=1)
    except KeyError as error:
        raise refuse(f"its input is of type {error}, expected numbers") from None
    except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
        message = str(error).replace(str(path), "it")  # no local paths in messages
        raise refuse(f"ONNX Runtime refuses it: {first_line(message)}") from None


@dataclass(frozen=True)
class _Trial:
    """The first rows that a graph has run on: shapes of one row by input, bound of whole numbers, outputs."""

    shapes: dict[str, tuple[int, ...]]
    largest: int
    outputs: dict[str, NDArray[np.generic]]
    deadline: float


def _first_trial(graph: OnnxGraph, inputs: GraphInputs) -> _Trial:
    """Run random rows, of the first size and range of numbers that the graph takes."""
    deadline = monotonic() + TRIAL_SECONDS
    failure: Exception | None = None
    for shapes in inputs.shapes():
        check_shapes(inputs, shapes, graph.fixed_batch or 1)
        for largest in inputs.largest():
            try:
                return _Trial(shapes, largest, _run(graph, inputs, shapes, largest, TRIAL_ROWS, deadline), deadline)
            except TimeoutError as error:
                raise refuse(f"it fails on random rows: {error}") from None
            except Exception as error:  # see _opened
                failure = error
    raise _failed(graph, inputs, str(failure), deadline)


def _run(
    graph: OnnxGraph,
    inputs: GraphInputs,
    shapes: dict[str, tuple[int, ...]],
    largest: int,
    rows: int,
    deadline: float,
) -> dict[str, NDArray[np.generic]]:
    graph.feeds = inputs.feeds(shapes)
    left = max(0.1, deadline - monotonic())
    return graph.try_out(inputs.rows("normal", rows, shapes, largest).numpy(), left)


def _failed(graph: OnnxGraph, inputs: GraphInputs, error: str, deadline: float) -> UserError:
    """The rejection of a graph that ran on no rows; it says so where it runs on a single one."""
    if inputs.open_names:
        shown = {each.name: list(each.source.shape) for each in inputs.fed if each.is_open}
        declared = next(iter(shown.values())) if len(shown) == 1 else shown
        return UserError(
            "open_shape",
            f"the shape of a row is not fixed ({declared}), and the graph runs on none of the sizes that were tried: "
            f'give it as "inputs": {{"{inputs.open_names[0]}": {{"shape": […]}}}}, without the batch dimension. The '
            f"last error: {first_line(error)}",
        )
    shapes = next(inputs.shapes())
    for largest in inputs.largest():
        try:
            _run(graph, inputs, shapes, largest, 1, deadline)
        except Exception:  # see _opened
            continue
        return UserError(
            "depends_on_batch",
            f"the graph runs on one row and fails on {TRIAL_ROWS} ({first_line(error)}): its batch size was fixed when "
            "it was exported. Export it with a dynamic batch dimension",
        )
    return refuse(f"it fails on random normal rows: {first_line(error)}")


def _check_open_sizes(graph: OnnxGraph, inputs: GraphInputs, trial: _Trial, names: dict[str, str]) -> None:
    """Where dimensions are open, outputs must have as many numbers for rows of another size."""
    if not inputs.open_names:
        return
    for shapes in inputs.shapes():
        if shapes == trial.shapes:
            continue
        try:
            others = _run(graph, inputs, shapes, trial.largest, 1, trial.deadline)
        except Exception:  # this size does not fit: another may
            continue
        for name, graph_name in names.items():
            first, size = (prod(each[graph_name].shape[1:]) for each in (trial.outputs, others))
            if size != first:
                name_of_input = inputs.open_names[0]
                raise UserError(
                    "open_shape",
                    f"`{name}` has {first} numbers for rows of shape {list(trial.shapes[name_of_input])} "
                    f"and {size} for {list(shapes[name_of_input])}: fix the shape by "
                    f'"inputs": {{"{name_of_input}": {{"shape": […]}}}}, without the batch dimension',
                )
        return


def _forward(graph: OnnxGraph, names: dict[str, str]) -> Callable[[Tensor], dict[str, Tensor]]:
    def forward(x: Tensor) -> dict[str, Tensor]:
        try:
            arrays = graph.try_out(x.numpy(), TRIAL_SECONDS)
        except UserError:
            raise
        except Exception as error:  # see _opened
            rows = f"{len(x)} row{'s' if len(x) > 1 else ''}"
            raise TrialFailedError(f"the graph fails on {rows}: {first_line(str(error))}") from None
        return {name: torch.from_numpy(arrays[own]).float().reshape(len(x), -1) for name, own in names.items()}

    return forward


def _layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """The outputs of all nodes, with the shape of one row where shape inference finds it."""
    shapes = _row_shapes(model)
    return tuple(
        Layer(name=output, kind=node.op_type, shape=shapes.get(output))
        for node in model.graph.node
        for output in node.output
        if output
    )


def _row_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes without the first dimension, of float tensors whose other dimensions are known."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return {}
    shapes = {}
    for value in (*graph.value_info, *graph.output):
        kind = value.type.tensor_type
        sides = [side.dim_value for side in kind.shape.dim[1:]]
        if kind.elem_type in _FLOATS and kind.shape.dim and all(side > 0 for side in sides):
            shapes[value.name] = tuple(sides) or (1,)
    return shapes
