"""Export to ONNX by torch's exporter: a graph that takes rows as they were uploaded and puts out answers.

Torch traces `AnsweringNetwork`, from the rows of the dataset to the answers; `row_nodes` stand before it. The batch
size is open.
"""

import copy
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx
import torch

from app.contracts.base import canonical_json
from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.problems import UserError
from workers.engine.export.raw_student import AnsweringNetwork, RawStudent
from workers.engine.export.row_nodes import ML_DOMAIN, ML_OPSET, RowNodes, rows_name
from workers.engine.models.named import NamedModules

OPSET = 18
_LARGEST_BYTES = 2_000_000_000
_TRACED_ROWS = 2


def export_onnx(student: RawStudent, path: Path, metadata: Mapping[str, object]) -> None:
    """Write `student` to `path` as ONNX of opset 18.

    The graph has an input for each of the student's (`input_names`), rows [batch, …] as in `forms`, and an output for
    each answer. `metadata` becomes the model's property `stillhouse`. Raises UserError `rows_not_exportable` where no
    graph takes the rows, `export_too_large` above 2 GB, the limit of a protobuf file.
    """
    student.check_rows()
    size = sum(tensor.numel() * tensor.element_size() for tensor in student.network.state_dict().values())
    if size > _LARGEST_BYTES:
        raise UserError(
            "export_too_large",
            f"ONNX files hold at most {_LARGEST_BYTES} bytes of weights and this network has {size}: leave `onnx` out "
            "of `exports` and use the safetensors file",
        )
    student = replace(student, network=copy.deepcopy(student.network).cpu())
    rows = {name: rows_name(public) for name, public in student.input_names.items()}
    model = _traced(student, rows)
    _take_raw_rows(model, student, rows)
    _remove_source_paths(model)
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical_json(dict(metadata))})
    path.write_bytes(model.SerializeToString(deterministic=True))


def _traced(student: RawStudent, rows: Mapping[str, str]) -> onnx.ModelProto:
    """The graph from the dataset's rows, inputs of the names `rows`, to the answers."""
    outputs = student.answer_names
    public = {f"_input_{i}": name for i, name in enumerate(rows.values())}
    public |= {f"_output_{i}": name for i, name in enumerate(outputs)}
    examples = tuple(
        torch.zeros(_TRACED_ROWS, *student.row_shape(name), dtype=getattr(torch, student.forms[name].rows))
        for name in rows
    )
    batch = torch.export.Dim("batch", min=1)
    for named in [module for module in student.network.modules() if isinstance(module, NamedModules)]:
        named.make_plain()
    with _no_exporter_warnings():
        program = torch.onnx.export(
            AnsweringNetwork(student).eval(),
            examples,
            input_names=list(public)[: len(rows)],
            output_names=list(public)[len(rows) :],
            opset_version=OPSET,
            dynamic_shapes=(tuple({0: batch} for _ in rows),),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _rename(model.graph, public, student.input_names.values())
    return model


def _rename(graph: onnx.GraphProto, public: Mapping[str, str], reserved: Iterable[str]) -> None:
    """Give inputs and outputs their public names; internal values with such a name (as `linear`), or a reserved one,
    get another.
    """
    inner = {name: f"_inner_{name}" for name in (*public.values(), *reserved)}
    names = {**inner, **public}
    for node in graph.node:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.name = names.get(part.name, part.name)


def _take_raw_rows(model: onnx.ModelProto, student: RawStudent, rows: Mapping[str, str]) -> None:
    """Put the nodes that make rows of a file those of a dataset before the graph."""
    made = [
        RowNodes.of(public, student.forms[name], student.inputs[name], rows[name])
        for name, public in student.input_names.items()
    ]
    graph = model.graph
    network = list(graph.node)
    del graph.input[:]
    del graph.node[:]
    graph.input.extend(each.value for each in made)
    graph.node.extend(node for each in made for node in each.nodes)
    graph.node.extend(network)
    graph.initializer.extend(constant for each in made for constant in each.constants)
    if any(node.domain == ML_DOMAIN for each in made for node in each.nodes):
        model.opset_import.append(onnx.helper.make_opsetid(ML_DOMAIN, ML_OPSET))


@contextmanager
def _no_exporter_warnings() -> Iterator[None]:
    """Suppress the exporter's warnings, about torchvision and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _remove_source_paths(model: onnx.ModelProto) -> None:
    """Remove the paths of source files that the exporter records at every node."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
