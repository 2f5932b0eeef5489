"""How many numbers a graph stores, whatever their type and place."""

from math import prod

import onnx

from workers.engine.jobs.inspection.graphs.walk import graphs_of, tensors_of

_ML = "ai.onnx.ml"
_COUNTED_INTEGERS = ("_values", "_weights", "coefficients")


def stored_numbers(model: onnx.ModelProto) -> int:
    """The elements of all tensors of numbers: initializers of any type, also quantised and sparse ones, tensors of
    Constant and other nodes, and the numbers in attributes of trees and linear models; in inner graphs too.
    """
    count = 0
    for graph in graphs_of(model):
        count += sum(prod(tensor.dims) for tensor in tensors_of(graph) if _has_numbers(tensor))
        count += sum(prod(sparse.values.dims) for sparse in graph.sparse_initializer)
        count += sum(_in_attributes(node) for node in graph.node)
    return count


def _has_numbers(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_type != onnx.TensorProto.STRING)


def _in_attributes(node: onnx.NodeProto) -> int:
    """Numbers in lists: the value of a Constant, or the thresholds, weights and coefficients of a classical model."""
    count = 0
    for attribute in node.attribute:
        count += prod(attribute.sparse_tensor.values.dims) if attribute.HasField("sparse_tensor") else 0
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            count += len(attribute.floats) + len(attribute.ints)
            count += 1 if attribute.name in ("value_float", "value_int") else 0
        elif node.domain == _ML:
            count += len(attribute.floats)
            count += len(attribute.ints) if attribute.name.endswith(_COUNTED_INTEGERS) else 0
    return count
