"""Tables of embeddings in int8: of small networks of texts they are most of the file.

Each row has a scale of its own, so that a rare token's vector is as exact as that of a common one:
q = round(w / s) with s = max |w| / 127 over the row, and w ≈ q · s. Rows are looked up first, and multiplied then.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

_LIMIT = 127
"""Largest integer: these are no factors of a product of integers, which would need a bit less."""


def quantize_tables(model: onnx.ModelProto) -> None:
    """Replace the tables [rows, width] in float32 from which a graph looks up rows alone, in place."""
    graph = model.graph
    uses = Counter(name for node in graph.node for name in node.input)
    tables = {
        each.name: each
        for each in graph.initializer
        if len(each.dims) == 2 and each.data_type == onnx.TensorProto.FLOAT and uses[each.name] == 1
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" and _axis(node) == 0 else None
        if table is None:
            nodes.append(node)
        else:
            nodes.extend(_looked_up(node, table, graph))
    del graph.node[:]
    graph.node.extend(nodes)


def _axis(node: onnx.NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 0)


def _looked_up(node: onnx.NodeProto, table: onnx.TensorProto, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes that look up the rows of a table, and their scales, in its place."""
    weights = numpy_helper.to_array(table)
    largest = np.abs(weights).max(axis=1, keepdims=True)
    scales = np.where(largest > 0.0, largest / _LIMIT, 1.0).astype(np.float32)
    integers = np.rint(weights / scales).astype(np.int8)
    name, rows, output = table.name, node.input[1], node.output[0]
    graph.initializer.remove(table)
    graph.initializer.append(numpy_helper.from_array(integers, f"{name}/integers"))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}/scales"))
    yield helper.make_node("Gather", [f"{name}/integers", rows], [f"{output}/integers"])
    yield helper.make_node("Gather", [f"{name}/scales", rows], [f"{output}/scales"])
    yield helper.make_node("Cast", [f"{output}/integers"], [f"{output}/numbers"], to=onnx.TensorProto.FLOAT)
    yield helper.make_node("Mul", [f"{output}/numbers", f"{output}/scales"], [output])
