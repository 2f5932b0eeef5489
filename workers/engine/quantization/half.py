"""Graphs with weights and arithmetic in float16, by `onnxruntime.transformers.float16`.

Only what the network does is in float16: the transform of the rows and the answers, which may be large numbers or in
units of their own, stay as they are.
"""

from collections.abc import Collection

import onnx


def to_half(model: onnx.ModelProto, network: Collection[str]) -> onnx.ModelProto:
    """The graph with the nodes that `network` names in float16, and casts around them. `model` may be changed."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    others = [node.name for node in model.graph.node if node.name not in network]
    halved: onnx.ModelProto = convert_float_to_float16(
        model, keep_io_types=True, disable_shape_infer=True, node_block_list=others
    )
    return halved
