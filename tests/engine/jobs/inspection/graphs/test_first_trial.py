"""The rows that an inspection invents are legal for every graph; what they cannot show is no fault of the upload."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from tests.engine.jobs.inspection.onnx_graphs import Graph, W, graph, inspected, value
from tests.engine.jobs.inspection.uploads import refused

ZERO = np.zeros(2, np.float32)
GEMM = helper.make_node("Gemm", ["f", "w", "b"], ["y"])
PRICES = np.random.default_rng(0).uniform(1.0, 1000.0, size=(4, 4)).astype(np.float32)


def after(*nodes: NodeProto, **weights: Any) -> Graph:
    """Y = f W, where the nodes make f of x."""
    return graph(*nodes, GEMM, weights={"w": W, "b": ZERO, **weights})


def log() -> Graph:
    return after(helper.make_node("Log", ["x"], ["f"]))


def log_of_large(least: float) -> Graph:
    """Y = log(x - least) W: finite above `least` only."""
    return after(
        helper.make_node("Sub", ["x", "least"], ["d"]), helper.make_node("Log", ["d"], ["f"]), least=np.float32(least)
    )


def masked_embedding() -> Graph:
    return graph(
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("Cast", ["keep"], ["k"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["k", "last"], ["column"]),
        helper.make_node("Mul", ["h", "column"], ["kept"]),
        helper.make_node("ReduceMean", ["kept"], ["y"], axes=[1], keepdims=0),
        inputs=[value("ids", ["n", 6], TensorProto.INT64), value("keep", ["n", 6], TensorProto.BOOL)],
        weights={"table": np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32), "last": np.array([2])},
    )


def test_a_mask_of_booleans_is_tried_with_booleans(tmp_path: Path) -> None:
    facts = inspected(masked_embedding(), tmp_path)
    assert facts.input_types == {"ids": "int64", "keep": "bool"}
    assert len(facts.examples["y"]) == 3


@pytest.mark.parametrize("kind", ["BOOL", "INT8", "UINT8", "INT16", "UINT64"])
def test_every_type_is_tried_with_numbers_that_it_has(kind: str, tmp_path: Path) -> None:
    number = TensorProto.DataType.Value(kind)
    content = graph(
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), GEMM, inputs=[value("x", ["n", 4], number)]
    )
    assert len(inspected(content, tmp_path).examples["y"]) == 3


def test_a_transform_out_of_the_types_range_for_invented_rows_is_left_to_real_rows(tmp_path: Path) -> None:
    content = graph(
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        GEMM,
        inputs=[value("x", ["n", 4], TensorProto.UINT8)],
    )
    raw = np.full((2, 4), 1010.0)
    reference = {"inputs": {"x": raw.tolist()}, "outputs": {"y": ((raw - 1000.0) @ W).tolist()}}
    facts = inspected(content, tmp_path, inputs={"x": {"mean": 1000.0}}, reference=reference)
    assert facts.examples == {}
    refused("not_whole_numbers", lambda: inspected(content, tmp_path, inputs={"x": {"mean": 0.5}}))


@pytest.mark.parametrize("operator", ["Log", "Sqrt"])
def test_a_graph_of_positive_numbers_is_ready(operator: str, tmp_path: Path) -> None:
    content = after(helper.make_node(operator, ["x"], ["f"]))
    assert inspected(content, tmp_path).outputs["y"].size == 2
    reference = {"inputs": {"x": PRICES.tolist()}, "outputs": {"y": (np.log(PRICES) @ W).tolist()}}
    inspected(log(), tmp_path, reference=reference)


def test_a_graph_of_large_numbers_is_ready_with_reference_rows_and_refused_without(tmp_path: Path) -> None:
    rows = PRICES + 5000.0
    outputs = (np.log(rows - np.float32(5000.0)) @ W).tolist()
    inspected(log_of_large(5000.0), tmp_path, reference={"inputs": {"x": rows.tolist()}, "outputs": {"y": outputs}})
    message = refused("not_finite", lambda: inspected(log_of_large(5000.0), tmp_path))
    assert "every row that was tried" in message
    assert "`reference`" in message


def test_a_graph_that_is_never_finite_is_refused(tmp_path: Path) -> None:
    content = after(
        helper.make_node("Sub", ["x", "x"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["f"]),
    )
    reference = {"inputs": {"x": PRICES.tolist()}, "outputs": {"y": PRICES[:, :2].tolist()}}
    refused("not_finite", lambda: inspected(content, tmp_path))
    assert "reference rows)" in refused("not_finite", lambda: inspected(content, tmp_path, reference=reference))


def test_what_an_output_means_is_checked_on_the_rows_that_are_finite(tmp_path: Path) -> None:
    """The logarithm makes NaN of normal rows; the outputs of others are probabilities, declared as logits."""
    content = graph(
        helper.make_node("Log", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"]),
        weights={"w": W, "b": ZERO},
    )
    assert "probabilities" in refused("wrong_output", lambda: inspected(content, tmp_path))


def test_a_graph_that_runs_on_its_reference_rows_alone_is_ready(tmp_path: Path) -> None:
    """Rows are places of a table from 1000 on: every invented number is out of its range."""
    table = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    content = graph(
        helper.make_node("Sub", ["x", "first"], ["place"]),
        helper.make_node("Gather", ["table", "place"], ["h"]),
        helper.make_node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=0),
        inputs=[value("x", ["n", 3], TensorProto.INT64)],
        weights={"table": table, "first": np.int64(1000)},
    )
    rows = np.array([[1000, 1001, 1007], [1003, 1002, 1005]])
    outputs = table[rows - 1000].mean(1).tolist()
    facts = inspected(content, tmp_path, reference={"inputs": {"x": rows.tolist()}, "outputs": {"y": outputs}})
    assert facts.outputs["y"].size == 2
    refused("unreadable", lambda: inspected(content, tmp_path))


@pytest.mark.parametrize(("kind", "number"), [("UINT8", 300), ("INT64", 0.5), ("BOOL", 2), ("INT32", 3e9)])
def test_a_constant_that_the_type_does_not_have_is_refused(kind: str, number: float, tmp_path: Path) -> None:
    content = graph(
        helper.make_node("Cast", ["k"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "factor"], ["f"]),
        GEMM,
        inputs=[value("x", ["n", 4]), value("k", [], TensorProto.DataType.Value(kind))],
    )
    message = refused("bad_constant", lambda: inspected(content, tmp_path, inputs={"k": {"constant": number}}))
    assert f"{kind.lower()}: whole numbers from" in message
    assert inspected(content, tmp_path, inputs={"k": {"constant": 1}}).constants == {"k": 1.0}
