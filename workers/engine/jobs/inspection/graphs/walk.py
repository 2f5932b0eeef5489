"""Every graph, node and tensor of an ONNX model, also inside branches and loops."""

from collections.abc import Iterator

import onnx


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph of a model and all graphs inside its nodes."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            waiting += inner_graphs(node)


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs in the attributes of a node."""
    inner: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        inner += [attribute.g] if attribute.HasField("g") else []
        inner += attribute.graphs
    return inner


def tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The dense tensors that a graph itself stores: initializers, and those in attributes of its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
