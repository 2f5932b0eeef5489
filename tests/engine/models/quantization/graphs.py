"""Graphs of small networks, quantized and run."""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor

from tests.engine.export.raw_students import raw_student
from tests.engine.models.sharing.networks import rows_for
from workers.engine.common.eval_mode import evaluating
from workers.engine.export.graph_outputs import GraphOutputs
from workers.engine.export.row_nodes import rows_name
from workers.engine.models import Network
from workers.engine.models.quantization.arithmetic import input_scale
from workers.engine.models.quantization.fake import FakeQuantization, simulated
from workers.engine.models.quantization.layers import layers_of


def some_rows(network: Network, count: int) -> Tensor:
    return rows_for(network, count) * 2 + 1


def outputs(network: Network, x: Tensor) -> dict[str, Tensor]:
    with evaluating(network):
        found: dict[str, Tensor] = network(x)
    return found


def outputs_of_graph(model: onnx.ModelProto, network: Network, x: Tensor, block: int = 256) -> dict[str, Tensor]:
    """Those of a graph of `raw_student(network)`, in the units of the network."""
    feeds = GraphOutputs(model, raw_student(network).outputs, lambda rows: feeds_of(x[rows]), block)
    return feeds(torch.arange(len(x)))


def plain_answers(model: onnx.ModelProto, x: Tensor) -> list[NDArray[np.float32]]:
    """All answers, one row at a time, node by node: optimizers of a session fuse by what they find."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = [session.run(None, feeds_of(row)) for row in torch.split(x, 1)]
    return [np.concatenate(answer) for answer in zip(*rows, strict=True)]


def feeds_of(x: Tensor) -> dict[str, NDArray[np.float32]]:
    return {rows_name("x"): x.numpy()}


def trained_ranges(network: Network, batches: int = 3) -> dict[str, Tensor]:
    """The ranges of a quantized training of a few steps that changes no weight; BatchNorm's statistics move."""
    quantization = FakeQuantization(network, 0.0, 2 * batches)
    network.train()
    with torch.no_grad():
        for step in range(batches):
            quantization.begin_step(step)
            network(some_rows(network, 16 + step))
            quantization.end_step()
    network.eval()
    return quantization.remove()


def simulated_outputs(network: Network, ranges: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Those of the network with rounded weights and inputs."""
    rounded = copy.deepcopy(network)
    simulated(rounded, ranges)
    return outputs(rounded, x)


def rounding_step(network: Network, ranges: Mapping[str, Tensor], output: str) -> float:
    """By how much a number of an output changes at most where one input of its head is rounded the other way."""
    head = network.head(output)
    name = next(name for name, layer in layers_of(network).items() if layer is head)
    return float(input_scale(ranges[name])[0] * head.weight.detach().abs().max())


def integer_weights(model: onnx.ModelProto) -> list[NDArray[np.int64]]:
    """Constants of more than one dimension in int8."""
    constants = [each for each in model.graph.initializer if each.data_type == TensorProto.INT8 and len(each.dims) > 1]
    return [numpy_helper.to_array(each).astype(np.int64) for each in constants]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def operators_run(model: onnx.ModelProto, path: Path) -> list[str]:
    """The operators that ONNX Runtime makes of a graph, which it writes to `path`."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return operators(onnx.load(path))


def producers(model: onnx.ModelProto) -> dict[str, str]:
    """The operator that makes a value, by its name."""
    return {name: node.op_type for node in model.graph.node for name in node.output}
