"""Inspection of ONNX graphs: a single bounded file with standard operators, run once; usable as teachers."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.shape_inference
from google.protobuf.message import DecodeError

from app.contracts.problems import UserError
from app.contracts.resources.facts import Layer, ModelFacts, OutputFacts
from app.contracts.resources.manifests import ModelManifest
from workers.engine.data.quality.meaning import check_meaning
from workers.engine.jobs.inspection.family_models import check_output, check_row, check_transform
from workers.engine.models.onnx_graph import OnnxGraph

MAX_BYTES = 2_000_000_000
MAX_NODES = 50_000
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
TRIAL_ROWS = 4
TRIAL_SECONDS = 20.0
"""Time limit for the trial rows, in case a graph loops forever."""
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def _refuse(message: str) -> UserError:
    return UserError("unreadable", f"this ONNX graph is not supported: {message}")


def _parsed(path: Path) -> onnx.ModelProto:
    if path.stat().st_size > MAX_BYTES:
        raise _refuse(f"{path.stat().st_size} bytes, {MAX_BYTES} at most")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise _refuse("the file is not an ONNX protobuf") from None
    if not model.graph.node:
        raise _refuse("the graph has no node")
    return model


def _check_node(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Refuse references to anything outside the file; returns the graphs inside the node."""
    if node.domain not in DOMAINS:
        raise _refuse(f"it uses operators of the domain `{node.domain[:60]}`: only standard operators are supported")
    if not all(isinstance(name, str) for name in node.output):
        raise _refuse("the name of a node's output is not UTF-8")
    inner: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        if attribute.t.external_data:
            raise _refuse("a constant is in another file (external data): save it as one file")
        inner += [attribute.g] if attribute.HasField("g") else []
        inner += attribute.graphs
    return inner


def _check_weights(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise _refuse("weights are in another file (external data): save it as one file")
    if graph.sparse_initializer:
        raise _refuse("it has sparse initializers: save it with dense ones")


def _check_closed(model: onnx.ModelProto) -> None:
    """Check that the graph uses neither external files nor other than standard operators, nor functions."""
    if model.functions:
        raise _refuse("it defines functions of its own: inline them before saving")
    graphs, nodes = [model.graph], 0
    while graphs:
        graph = graphs.pop()
        _check_weights(graph)
        nodes += len(graph.node)
        if nodes > MAX_NODES:
            raise _refuse(f"more than {MAX_NODES} nodes")
        for node in graph.node:
            graphs += _check_node(node)


def _check_one_input(graph: onnx.GraphProto) -> None:
    """Check that the graph has one input; old files list initializers among the inputs too."""
    initialized = {tensor.name for tensor in graph.initializer}
    inputs = [str(source.name) for source in graph.input if source.name not in initialized]
    if len(inputs) != 1:
        raise _refuse(f"it has {len(inputs)} inputs ({', '.join(inputs[:5])}), expected one")


def _check_valid(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise _refuse(_first_line(str(error))) from None


def _opened(path: Path) -> OnnxGraph:
    try:
        return OnnxGraph(path, threads=1)
    except KeyError as error:
        raise _refuse(f"its input is of type {error}, expected float numbers") from None
    except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
        message = str(error).replace(str(path), "it")  # no local paths in messages
        raise _refuse(f"ONNX Runtime refuses it: {_first_line(message)}") from None


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:300]


def _by_manifest_name(manifest: ModelManifest, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The graph's outputs by the manifest's names; a single output matches whatever its name."""
    if len(outputs) == 1 and len(manifest.outputs) == 1:
        return {next(iter(manifest.outputs)): next(iter(outputs.values()))}
    missing = sorted(set(manifest.outputs) - set(outputs))
    if missing:
        raise UserError("missing_output", f"the graph has no output {missing}: it has {sorted(outputs)}")
    return {name: outputs[name] for name in manifest.outputs}


def _output(manifest: ModelManifest, name: str, values: np.ndarray) -> OutputFacts:
    spec = manifest.outputs[name]
    if values.dtype.kind != "f" or values.shape[:1] != (TRIAL_ROWS,):
        raise UserError(
            "wrong_output",
            f"`{name}` is {values.dtype} of shape {list(values.shape)} for {TRIAL_ROWS} rows, expected float "
            f"[{TRIAL_ROWS}, size]: name another output, or cast it in the graph",
        )
    rows = values.reshape(TRIAL_ROWS, -1).astype(np.float64)
    if not np.isfinite(rows).all():
        raise UserError("not_finite", f"`{name}` is NaN or infinite for random normal rows: check its `inputs`")
    check_meaning(name, spec, rows)
    return check_output(name, spec, rows.shape[1])


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


def inspect_onnx_model(path: Path, manifest: ModelManifest) -> ModelFacts:
    """Check a graph and run it on a few rows. Raises UserError with the reason of the rejection."""
    model = _parsed(path)
    _check_closed(model)
    _check_valid(model)
    _check_one_input(model.graph)
    graph = _opened(path)
    row = graph.row_shape
    if row is None:
        raise UserError(
            "open_shape",
            f"the shape of a row is not fixed ({list(graph.input_shape)}): only the batch size may be dynamic",
        )
    check_row(row, graph.fixed_batch or 1)
    check_transform(manifest.inputs, row)
    rows = np.random.default_rng(0).standard_normal(size=(TRIAL_ROWS, prod(row)), dtype=np.float32)
    try:
        results = graph.try_out(rows, TRIAL_SECONDS)
    except Exception as error:  # see _opened
        raise _refuse(f"it fails on random normal rows: {_first_line(str(error))}") from None
    outputs = {name: _output(manifest, name, values) for name, values in _by_manifest_name(manifest, results).items()}
    return ModelFacts(
        architecture=None,
        input_shape=row,
        inputs=manifest.inputs,
        outputs=outputs,
        parameters=sum(prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type in (1, 10, 11, 16)),
        layers=_layers(model),
        max_batch=graph.fixed_batch,
    )
