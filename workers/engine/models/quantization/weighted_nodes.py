"""The nodes of a graph that multiply by a weight: those that are worth quantizing."""

import onnx

LINEAR: tuple[str, ...] = ("MatMul", "Gemm")
CONVOLUTION: tuple[str, ...] = ("Conv",)


def weighted_nodes(model: onnx.ModelProto, operators: tuple[str, ...] = (*LINEAR, *CONVOLUTION)) -> list[str]:
    """Names of the nodes of these operators whose second input is a constant matrix or kernel.

    The products of attention, of two activations, are none of them.
    """
    graph = model.graph
    weights = {each.name for each in graph.initializer if len(each.dims) > 1}
    return [node.name for node in graph.node if node.op_type in operators and node.input[1] in weights]
