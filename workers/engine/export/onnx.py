"""Export to ONNX by torch's exporter: a graph that takes rows as they were uploaded and puts out answers.

Torch traces `AnsweringNetwork`, from the rows of the dataset to the answers; `row_nodes` stand before it. The batch
size is open.
"""

import ast
import copy
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch

from app.contracts.base import canonical_json
from app.contracts.layouts.cut_files import METADATA_KEY
from app.contracts.problems import UserError
from app.contracts.resources.graph_names import OPSET
from workers.engine.export.raw_student import AnsweringNetwork, RawStudent
from workers.engine.export.row_nodes import ML_DOMAIN, ML_OPSET, TOKENS_SIDE, RowNodes, rows_name
from workers.engine.models import Network
from workers.engine.models.named import NamedModules
from workers.engine.models.quantization.copies import copied

_LARGEST_BYTES = 2_000_000_000
_TRACED_ROWS = 2
_SCOPES = "pkg.torch.onnx.name_scopes"
"""The property of a node in which the exporter lists the modules that it is in."""


def export_onnx(
    student: RawStudent, path: Path, metadata: Mapping[str, object], graph: "RowsGraph | None" = None
) -> None:
    """Write `student` to `path` as ONNX of opset 18.

    The graph has an input for each of the student's (`input_names`), rows [batch, …] as in `forms`, and an output for
    each answer. `graph` is that of `trace`, if it is at hand. `metadata` becomes the model's property `stillhouse`.
    Raises UserError `rows_not_exportable` where no graph takes the rows, `export_too_large` above 2 GB, the limit of a
    protobuf file.
    """
    graph = graph or trace(student)
    path.write_bytes(of_raw_rows(copied(graph.model), student, metadata))


@dataclass(frozen=True)
class RowsGraph:
    """A graph from the dataset's rows to the answers: one input `rows_name(name)` for each of the student's, of the
    type `form.rows`. `network`: the names of the nodes that the network is.
    """

    model: onnx.ModelProto
    network: frozenset[str]


def trace(student: RawStudent, change: Callable[[Network], None] = lambda network: None) -> RowsGraph:
    """The graph of a student; `change` is applied to the copy of its network that is traced.

    Raises UserError `rows_not_exportable`, `export_too_large`.
    """
    student.check_rows()
    size = sum(tensor.numel() * tensor.element_size() for tensor in student.network.state_dict().values())
    if size > _LARGEST_BYTES:
        raise UserError(
            "export_too_large",
            f"ONNX files hold at most {_LARGEST_BYTES} bytes of weights and this network has {size}: use the "
            "safetensors file, or train a smaller network",
        )
    student = replace(student, network=copy.deepcopy(student.network).cpu())
    change(student.network)
    model = _traced(student, _rows_names(student))
    network = frozenset(node.name for node in model.graph.node if _is_of_network(node))
    _remove_source_paths(model)
    return RowsGraph(model, network)


def of_raw_rows(model: onnx.ModelProto, student: RawStudent, metadata: Mapping[str, object]) -> bytes:
    """A graph from the dataset's rows as a file that takes rows of the file. `model` is changed."""
    _take_raw_rows(model, student, _rows_names(student))
    onnx.helper.set_model_props(model, {METADATA_KEY: canonical_json(dict(metadata))})
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _rows_names(student: RawStudent) -> dict[str, str]:
    return {name: rows_name(public) for name, public in student.input_names.items()}


def _is_of_network(node: onnx.NodeProto) -> bool:
    """Whether the exporter made a node of the module `network` of `AnsweringNetwork`."""
    scopes = next((each.value for each in node.metadata_props if each.key == _SCOPES), "[]")
    return "network" in ast.literal_eval(scopes)


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
    sides = tuple({0: batch, **_open_side(student, name)} for name in rows)
    for named in [module for module in student.network.modules() if isinstance(module, NamedModules)]:
        named.make_plain()
    with _no_exporter_warnings():
        program = torch.onnx.export(
            AnsweringNetwork(student).eval(),
            examples,
            input_names=list(public)[: len(rows)],
            output_names=list(public)[len(rows) :],
            opset_version=OPSET,
            dynamic_shapes=(sides,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _rename(model.graph, public, student.input_names.values())
    return model


def _open_side(student: RawStudent, name: str) -> dict[int, torch.export.Dim]:
    """Rows of tokens have any width up to the longest that the network reads; exporting takes one of 1 for fixed."""
    if student.forms[name].tokens is None or student.row_shape(name)[0] < _TRACED_ROWS:
        return {}
    return {1: torch.export.Dim(TOKENS_SIDE, min=1, max=student.network.input_shape[0])}


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
