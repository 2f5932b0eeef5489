"""Inspection of ONNX graphs: a single bounded file with known operators, run on a few rows; usable as teachers."""

from pathlib import Path
from time import monotonic

import onnx
import onnx.shape_inference
from google.protobuf.message import DecodeError

from app.contracts.problems import UserError, listed
from app.contracts.resources.facts import Layer, ModelFacts
from app.contracts.resources.manifests import ModelManifest
from workers.engine.evaluation.examples import RawModel, examples_of
from workers.engine.jobs.inspection.graphs.bounded_runs import BoundedRuns
from workers.engine.jobs.inspection.graphs.checks import check_closed, check_valid
from workers.engine.jobs.inspection.graphs.class_labels import class_labels, with_labels
from workers.engine.jobs.inspection.graphs.costs import check_costs, operators_of
from workers.engine.jobs.inspection.graphs.counting import stored_numbers
from workers.engine.jobs.inspection.graphs.errors import first_line, refuse
from workers.engine.jobs.inspection.graphs.first_trial import FirstTrial
from workers.engine.jobs.inspection.graphs.folder import MAX_BYTES, is_zip, merged, write
from workers.engine.jobs.inspection.graphs.inputs import GraphInputs
from workers.engine.jobs.inspection.graphs.outputs import check_numbers, check_outputs, matched
from workers.engine.jobs.inspection.graphs.own_exports import as_exported
from workers.engine.jobs.inspection.graphs.stated_inputs import with_stated_inputs
from workers.engine.jobs.inspection.graphs.zipmap import cut_zip_maps
from workers.engine.jobs.inspection.reference import check_reference
from workers.engine.jobs.inspection.trial import try_out
from workers.engine.models.onnx_graph import OnnxGraph
from workers.engine.teachers.consistency import tolerance_of

CONVERTED = "converted.onnx"
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def _check_of_rows(manifest: ModelManifest) -> None:
    """Raises UserError `wrong_output` for outputs of tokens, whose graphs are not read."""
    of_tokens = [name for name, spec in manifest.outputs.items() if spec.kind == "token_class"]
    if of_tokens:
        raise UserError(
            "wrong_output",
            f"`{of_tokens[0]}` is of kind token_class, which is read of folders of transformers, found a graph: upload "
            "the folder that `save_pretrained` writes, as `huggingface`",
        )


def _check_rename(manifest: ModelManifest, graph: onnx.GraphProto) -> None:
    """Raises UserError `bad_rename` for names that neither an input nor an output of the graph has."""
    inputs, outputs = [each.name for each in graph.input], [each.name for each in graph.output]
    unknown = sorted(set(manifest.rename).difference(inputs, outputs))
    if unknown:
        raise UserError(
            "bad_rename",
            f"`rename` names {listed(unknown)}, and the graph has the inputs {listed(inputs)} and the outputs "
            f"{listed(outputs)}: use these names, or leave them out",
        )


def inspect_onnx_model(path: Path, manifest: ModelManifest, folder: Path | None = None) -> ModelFacts:
    """Check a graph, or a zip with a graph and its data, and run it. Raises UserError with the reason of the rejection.

    A graph that had to be changed to be used is written to `CONVERTED` in `folder` (that of the upload by default):
    with external data inside, without its ZipMap, or as `as_exported` reads exports of this service.
    """
    begun = monotonic()
    _check_of_rows(manifest)
    model, changed = _parsed(path)
    _check_rename(manifest, model.graph)
    manifest, own, cut = as_exported(model, manifest)
    changed = cut or changed
    labels = class_labels(model)
    changed = cut_zip_maps(model) or changed
    check_closed(model)
    check_valid(model)
    if changed:
        path = (folder or path.parent) / CONVERTED
        path.parent.mkdir(parents=True, exist_ok=True)
        write(model, path)
    manifest, stated = with_stated_inputs(model, manifest)
    graph = _opened(path)
    inputs = GraphInputs.of(graph, manifest)
    trial = FirstTrial.of(graph, inputs, manifest.reference)
    names, by_place = matched(manifest, trial.outputs)
    outputs, notes = with_labels(check_outputs(manifest, names, trial), labels)
    trial.check_open_sizes(graph, names)
    shapes = trial.rows.shapes
    graph.feeds = inputs.feeds(shapes)
    tried = RawModel(
        inputs.layout(shapes), inputs.transforms, BoundedRuns(graph, names, trial.cost).forward, graph.row_dtype
    )
    finite = check_numbers(manifest, trial.samples(tried, names))
    operators = operators_of(model)
    of_spread = tolerance_of(operators)
    plain = try_out(tried, trial.rows.of_kind, monotonic() - begun, of_spread, finite or trial.kind)
    check_costs(tried, trial, trial.named(names), operators, monotonic() - begun, of_spread)
    check_reference(manifest, tried, open_inputs=inputs.open_names)
    single = inputs.fed[0] if len(inputs.fed) == 1 else None
    fixed = single is not None and not single.is_open
    return ModelFacts(
        architecture=None,
        input_shape=shapes[single.name] if single is not None and fixed else None,
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
        warnings=(*own, *stated, *by_place, *notes),
        examples=examples_of(plain),
    )


def _parsed(path: Path) -> tuple[onnx.ModelProto, bool]:
    """(the graph, whether it differs from the file)."""
    zipped = is_zip(path)
    if path.stat().st_size > MAX_BYTES:
        raise refuse(f"{path.stat().st_size} bytes, {MAX_BYTES} at most: upload a smaller model")
    try:
        model = merged(path) if zipped else onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise refuse("the file is not an ONNX protobuf: export it again") from None
    if not model.graph.node:
        raise refuse("the graph has no node: export the whole model")
    return model, zipped


def _opened(path: Path) -> OnnxGraph:
    try:
        return OnnxGraph(path, threads=1)
    except KeyError as error:
        raise refuse(f"its input is of type {error}, expected numbers: export it without text") from None
    except Exception as error:  # ONNX Runtime's own errors share no base class but Exception
        message = str(error).replace(str(path), "it")  # no local paths in messages
        raise refuse(f"ONNX Runtime refuses it: {first_line(message)}") from None


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
