"""A graph is one file with known operators: nothing outside of it is read, and no code but ONNX Runtime's own runs."""

import onnx
import onnx.checker

from workers.engine.jobs.inspection.graphs.errors import first_line, refuse
from workers.engine.jobs.inspection.graphs.folder import WAY_OUT
from workers.engine.jobs.inspection.graphs.walk import graphs_of, inner_graphs, tensors_of

MAX_NODES = 50_000
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
MICROSOFT = "com.microsoft"
MICROSOFT_OPERATORS = frozenset(
    (
        "Attention",
        "BiasGelu",
        "BiasSplitGelu",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "EmbedLayerNormalization",
        "FastGelu",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "Gelu",
        "GroupQueryAttention",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MultiHeadAttention",
        "NhwcMaxPool",
        "QAttention",
        "QEmbedLayerNormalization",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QLinearWhere",
        "QuantizeLinear",
        "QuickGelu",
        "RotaryEmbedding",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "SimplifiedLayerNormalization",
    )
)
"""Operators of ONNX Runtime itself that its quantisation and its transformer optimiser write."""


def check_closed(model: onnx.ModelProto) -> None:
    """Check that the graph uses neither external files nor unknown operators, nor functions of its own."""
    if model.functions:
        raise refuse("it defines functions of its own: inline them before saving")
    nodes = 0
    for graph in graphs_of(model):
        nodes += len(graph.node)
        if nodes > MAX_NODES:
            raise refuse(f"more than {MAX_NODES} nodes: simplify it before uploading")
        for tensor in tensors_of(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
                raise refuse(WAY_OUT)
        if graph.sparse_initializer:
            raise refuse("it has sparse initializers: save it with dense ones")
        for node in graph.node:
            _check_node(node)


def _check_node(node: onnx.NodeProto) -> None:
    known = node.domain == MICROSOFT and node.op_type in MICROSOFT_OPERATORS and not inner_graphs(node)
    if node.domain not in DOMAINS and not known:
        own = f"`{node.op_type[:60]}` of " if node.domain == MICROSOFT else ""
        raise refuse(
            f"it uses operators ({own}the domain `{node.domain[:60]}`) that are not known here: only standard "
            "operators and those that ONNX Runtime's quantisation writes are supported"
        )
    if not all(isinstance(name, str) for name in node.output):
        raise refuse("the name of a node's output is not UTF-8: rename it")


def check_valid(model: onnx.ModelProto) -> None:
    """Check the graph against the specification of its operators."""
    _check_versions(model)
    _check_ranks(model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise refuse(first_line(str(error))) from None


def _check_versions(model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version > newest:
            raise refuse(
                f"it uses opset {opset.version}, {newest} at most is known here: export it with an older one, as "
                "`torch.onnx.export(…, opset_version=17)`"
            )
    if model.ir_version > onnx.IR_VERSION:
        raise refuse(
            f"it is of IR version {model.ir_version}, {int(onnx.IR_VERSION)} at most is known here: set "
            "`model.ir_version = 9` and save it again, or export it with an older version of onnx"
        )


def _check_ranks(model: onnx.ModelProto) -> None:
    """Each input and output says its number of dimensions, whose sizes may be open."""
    for what, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
                raise refuse(
                    f"{what} `{value.name[:60]}` does not say how many dimensions it has: export it with a shape, "
                    'whose sizes may be open, such as ["batch", 8] (`onnx.helper.make_tensor_value_info`)'
                )
