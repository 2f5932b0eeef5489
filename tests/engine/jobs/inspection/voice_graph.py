"""A small graph with the inputs and outputs of silero-vad: samples, a state, a rate that an `If` reads, an LSTM."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.engine.jobs.inspection.onnx_graphs import Graph, graph, value

SAMPLES, UNITS, BINS = 64, 4, 8
MANIFEST: dict[str, Any] = {
    "outputs": {"voice": {"kind": "multilabel", "output": "probabilities"}},
    "rename": {"output": "voice", "input": "wave"},
    "inputs": {"wave": {"shape": [SAMPLES]}, "state": {"constant": 0}, "sr": {"constant": 16000}},
}


def _branch(name: str, step: int) -> onnx.GraphProto:
    """Magnitudes [batch, bins, frames] of the samples by filters, with another step for each rate."""
    nodes = [
        helper.make_node("Conv", ["waves", "filters"], [f"{name}_parts"], kernel_shape=[16], strides=[step]),
        helper.make_node("Abs", [f"{name}_parts"], [name]),
    ]
    return helper.make_graph(nodes, name, [], [value(name, ["batch", BINS, "frames"])])


def voice_graph() -> Graph:
    """`input` [batch, samples], `state` [2, batch, units], `sr` int64 -> `output` [batch, 1], `stateN`. Loud sounds are
    voices here.
    """
    draw = np.random.default_rng(0)
    times = np.arange(16)[None] / 16
    filters = np.sin(2 * np.pi * np.arange(1, BINS + 1)[:, None] * times)
    weights = {
        "axis": np.array([1]),
        "first": np.array([0]),
        "second": np.array([1]),
        "rate": np.array(16000),
        "filters": filters[:, None].astype(np.float32),
        "W": np.abs(draw.normal(0, 0.1, (1, 4 * UNITS, BINS))).astype(np.float32),
        "R": draw.normal(0, 0.1, (1, 4 * UNITS, UNITS)).astype(np.float32),
        "head": np.full((UNITS, 1), 4, np.float32),
        "bias": np.array([-3], np.float32),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["input", "axis"], ["waves"]),
        helper.make_node("Equal", ["sr", "rate"], ["is_fast"]),
        helper.make_node("If", ["is_fast"], ["power"], then_branch=_branch("fast", 8), else_branch=_branch("slow", 4)),
        helper.make_node("Transpose", ["power"], ["steps"], perm=[2, 0, 1]),
        helper.make_node("Gather", ["state", "first"], ["h"], axis=0),
        helper.make_node("Gather", ["state", "second"], ["c"], axis=0),
        helper.make_node("LSTM", ["steps", "W", "R", "", "", "h", "c"], ["", "hn", "cn"], hidden_size=UNITS),
        helper.make_node("Concat", ["hn", "cn"], ["stateN"], axis=0),
        helper.make_node("Squeeze", ["hn", "first"], ["last"]),
        helper.make_node("Gemm", ["last", "head", "bias"], ["odds"]),
        helper.make_node("Sigmoid", ["odds"], ["output"]),
    ]
    inputs = [
        value("input", ["batch", "samples"]),
        value("state", [2, "batch", UNITS]),
        value("sr", [], TensorProto.INT64),
    ]
    outputs = [value("output", ["batch", 1]), value("stateN", [2, "batch", UNITS])]
    return graph(*nodes, inputs=inputs, outputs=outputs, weights=weights)
