"""Graphs of `qdq` brought into the form that ONNX Runtime runs on integers: BatchNorm becomes part of the convolution
before it, and biases become integers.

Both keep the arithmetic. BatchNorm in evaluation is y = g · x + b for each channel, so the scale of the channel's
weight is multiplied by |g| and its integers by the sign of g. A bias is rounded to steps of (input scale · weight
scale), the unit of the integer sums, as in Jacob et al. 2018, section 2.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_MOST_BIAS = 2.0**30
"""Of the integers of a bias: half of what 32 bits hold, so that sums with it do not overflow."""
_LAYERS = ("Conv", "Gemm")


def fold_integers(model: onnx.ModelProto) -> None:
    """Fold BatchNorm and quantize biases, in place."""
    graph = _Graph(model.graph)
    for node in list(model.graph.node):
        if node.op_type in _LAYERS and (parts := graph.parts_of(node)) is not None:
            _fold(graph, node, parts)
    graph.commit()


@dataclass(frozen=True)
class _Parts:
    """What an integer layer is made of: the DequantizeLinear nodes of its input and its weight."""

    input: onnx.NodeProto
    weight: onnx.NodeProto


class _Graph:
    """A graph with its values by name."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {each.name: each for each in graph.initializer}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._before: dict[str, list[onnx.NodeProto]] = {}
        self._removed: set[str] = set()

    def value(self, name: str) -> NDArray[np.generic]:
        """A constant."""
        values: NDArray[np.generic] = numpy_helper.to_array(self._constants[name])
        return values

    def parts_of(self, node: onnx.NodeProto) -> _Parts | None:
        """The parts of an integer layer; None for a layer in float32."""
        dequantized = [self._producers.get(name) for name in node.input[:2]]
        if any(each is None or each.op_type != "DequantizeLinear" for each in dequantized):
            return None
        first, weight = dequantized
        assert first is not None
        assert weight is not None
        return _Parts(first, weight)

    def norm_after(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The BatchNormalization that alone reads a layer's output."""
        readers: list[onnx.NodeProto] = [each for each in self._graph.node if node.output[0] in each.input]
        if len(readers) == 1 and readers[0].op_type == "BatchNormalization":
            return readers[0]
        return None

    def set(self, name: str, values: NDArray[np.generic]) -> None:
        """Replace a constant, or add one."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)

    def insert(self, before: onnx.NodeProto, node: onnx.NodeProto) -> None:
        """Put a node before another."""
        self._before.setdefault(before.output[0], []).append(node)

    def take_output(self, node: onnx.NodeProto, other: onnx.NodeProto) -> None:
        """Remove `other`, whose output `node` gives from now on."""
        self._removed.add(other.output[0])
        node.output[0] = other.output[0]

    def commit(self) -> None:
        """Write nodes and constants back; weights that no layer reads any more are left out."""
        nodes = []
        for node in self._graph.node:
            if node.op_type == "BatchNormalization" and node.output[0] in self._removed:
                continue
            nodes += [*self._before.get(node.output[0], ()), node]
        used = {name for node in nodes for name in node.input}
        nodes = [node for node in nodes if node.op_type != "DequantizeLinear" or node.output[0] in used]
        used = {name for node in nodes for name in node.input}
        constants = [each for name, each in self._constants.items() if name in used]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        del self._graph.initializer[:]
        self._graph.initializer.extend(constants)


def _fold(graph: _Graph, node: onnx.NodeProto, parts: _Parts) -> None:
    norm = graph.norm_after(node)
    integers = graph.value(parts.weight.input[0]).astype(np.float64)
    scales = graph.value(parts.weight.input[1]).astype(np.float64)
    bias = graph.value(node.input[2]).astype(np.float64) if len(node.input) > 2 else np.zeros(len(scales))
    if norm is not None:
        factor, offset = _line_of(graph, norm)
        bias = bias * factor + offset
        integers = integers * _by_channel(np.sign(factor), integers)
        scales = np.where(factor == 0.0, scales, scales * np.abs(factor))
    elif len(node.input) < 3:
        return
    input_scale = float(graph.value(parts.input.input[1]))
    wide = np.maximum(scales, np.abs(bias) / (input_scale * _MOST_BIAS))  # of channels that are nearly 0
    integers = np.rint(integers * _by_channel(scales / wide, integers))
    wide = wide.astype(np.float32)
    unit = (np.float32(input_scale) * wide).astype(np.float32)
    if norm is not None:
        graph.take_output(node, norm)
    constants = {"integers": integers.astype(np.int8), "scales": wide}
    _write(graph, node, parts, {**constants, "bias": np.rint(bias / unit).astype(np.int32), "unit": unit})


def _write(graph: _Graph, node: onnx.NodeProto, parts: _Parts, constants: Mapping[str, NDArray[np.generic]]) -> None:
    """Write `integers` and `scales` of the weight, and `bias` in steps of `unit`.

    The nodes are new: the exporter merges equal ones, so that layers with equal weights read the same node.
    """
    names = {name: f"{node.output[0]}/{name}" for name in constants}
    for name, values in constants.items():
        graph.set(names[name], values)
    weight, bias = onnx.NodeProto(), f"{node.output[0]}/bias/float"
    weight.CopyFrom(parts.weight)
    weight.input[0], weight.input[1] = names["integers"], names["scales"]
    weight.name, weight.output[0] = "", f"{node.output[0]}/weight/float"
    graph.insert(node, weight)
    graph.insert(node, helper.make_node("DequantizeLinear", [names["bias"], names["unit"]], [bias], axis=0))
    node.input[1] = weight.output[0]
    del node.input[2:]
    node.input.append(bias)


def _line_of(graph: _Graph, norm: onnx.NodeProto) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(factor, offset) of each channel: y = factor · x + offset."""
    gamma, beta, mean, variance = (graph.value(name).astype(np.float64) for name in norm.input[1:5])
    epsilon = next((each.f for each in norm.attribute if each.name == "epsilon"), 1e-5)
    factor = gamma / np.sqrt(variance + epsilon)
    return factor, beta - mean * factor


def _by_channel(values: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    """[outputs] in a shape that multiplies a weight [outputs, …]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
