"""Graphs with weights and arithmetic in float16.

Only what the network does is in float16: the transform of the rows and the answers, which may be large numbers or in
units of their own, stay as they are. (`onnxruntime.transformers.float16` rounds every input and output of a graph.)
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workers.engine.common.onnx_session import onnx_session

LARGEST: Final = 65504.0
"""Of float16."""
_MASKED: Final = float(np.finfo(np.float32).max)
"""What masks add to scores that are to have no weight, with a minus: in float16 its largest number does the same."""
_SUFFIX = "/half"


def to_half(model: onnx.ModelProto, network: Collection[str]) -> None:
    """Make the nodes that `network` names compute in float16, with casts around them. In place."""
    graph = model.graph
    floats = _float_values(model)
    inside = [node for node in graph.node if node.name in network]
    made = {name for node in inside for name in node.output if name in floats}
    casts: dict[str, onnx.NodeProto] = {}
    constants = {each.name: each for each in graph.initializer}
    halves: dict[str, onnx.TensorProto] = {}
    for node in inside:
        for i, name in enumerate(node.input):
            if name not in floats:
                continue
            node.input[i] = name + _SUFFIX
            if name in constants:
                halves[name] = _half(constants[name])
            elif name not in made:
                casts[name] = helper.make_node("Cast", [name], [name + _SUFFIX], to=TensorProto.FLOAT16)
        node.output[:] = [name + _SUFFIX if name in made else name for name in node.output]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    _write(graph, network, made, casts, halves)


def largest_number(
    model: onnx.ModelProto, network: Collection[str], batches: Iterable[Mapping[str, NDArray[Any]]]
) -> float:
    """The largest absolute number that the nodes that `network` names read or make, in float32 on some rows, but for
    those of masks; NaN where there is one.

    Processors without float16 run such a graph in float32, where an overflow would not be seen. `model` is changed.
    """
    graph, floats = model.graph, _float_values(model)
    inside = [node for node in graph.node if node.name in network]
    weights = {each.name: each for each in graph.initializer}
    read = {name for node in inside for name in (*node.input, *node.output) if name in floats}
    shown = sorted(read - set(weights))
    known = {each.name for each in (*graph.input, *graph.output)}
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in shown if name not in known
    )
    found = [_largest(numpy_helper.to_array(weights[name])) for name in sorted(read & set(weights))]
    session = onnx_session(model.SerializeToString(), torch.get_num_threads())
    made = [each.name for each in graph.output if each.name in shown]
    for batch in batches:
        read_here = [batch[name] for name in shown if name in batch]
        found += (_largest(each) for each in (*session.run(made, dict(batch)), *read_here))
    return float(np.max(found, initial=0.0))  # NaN where there is one, which max() would pass over


def _largest(values: NDArray[Any]) -> float:
    sizes = np.abs(values)
    return float(np.where(sizes == _MASKED, 0.0, sizes).max()) if values.size else 0.0


def _float_values(model: onnx.ModelProto) -> set[str]:
    """The names of all values in float32."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = (*graph.value_info, *graph.input, *graph.output)
    found = {each.name for each in typed if each.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {each.name for each in graph.initializer if each.data_type == TensorProto.FLOAT}


def _half(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    halves = np.where(np.abs(values) == _MASKED, np.sign(values) * LARGEST, values).astype(np.float16)
    return numpy_helper.from_array(halves, tensor.name + _SUFFIX)


def _write(
    graph: onnx.GraphProto,
    network: Collection[str],
    made: Collection[str],
    casts: dict[str, onnx.NodeProto],
    halves: dict[str, onnx.TensorProto],
) -> None:
    """Write the nodes with the casts where they are due, and the constants that are still read."""
    public = {each.name for each in graph.output}
    read = {name for node in graph.node if node.name not in network for name in node.input} | public
    nodes = [cast for name, cast in casts.items() if name in {each.name for each in graph.input}]
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            whole = name.removesuffix(_SUFFIX)
            if node.name in network and whole in made and whole in read:
                nodes.append(helper.make_node("Cast", [name], [whole], to=TensorProto.FLOAT))
            elif node.name not in network and name in casts:
                nodes.append(casts[name])
    used = {name for node in nodes for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend([*kept, *halves.values()])
    del graph.value_info[:]
