"""Hostile ONNX graphs: refused by name, in bounded memory, without a look outside the file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.contracts.problems import UserError
from tests.engine.jobs.inspection.onnx_graphs import GEMM, Graph, W, graph, inspected, value
from tests.engine.jobs.inspection.uploads import mutations, refused


def external(location: str, *, constant: bool = False) -> Graph:
    made = graph()
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("length", "9" * 18)):
        part = weight.external_data.add()
        part.key, part.value = key, text
    if constant:
        made.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
        del made.graph.initializer[0]
    return made


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin", "/dev/zero"])
@pytest.mark.parametrize("constant", [False, True])
def test_weights_in_another_file_are_refused_wherever_they_lie(location: str, constant: bool, tmp_path: Path) -> None:
    message = refused("unreadable", lambda: inspected(external(location, constant=constant), tmp_path))
    assert "external data" in message
    assert location not in message


def in_a_branch(node: onnx.NodeProto) -> Graph:
    """The node hidden inside both branches of an If."""
    branch = helper.make_graph([node], "branch", [], [value("out", ["n", 2])])
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    return graph(choice, weights={"w": W, "b": np.zeros(2, np.float32), "yes": np.array(True)})


def in_a_list(node: onnx.NodeProto) -> Graph:
    """The node hidden inside a list of graphs, which no standard operator has."""
    inner = helper.make_graph([node], "inner", [], [value("out", ["n", 2])])
    return graph(helper.make_node("Gemm", ["x", "w", "b"], ["y"], graphs=[inner]))


def test_operators_of_other_domains_are_refused_by_name_also_inside_a_branch(tmp_path: Path) -> None:
    inspected(in_a_branch(helper.make_node("Gemm", ["x", "w", "b"], ["out"])), tmp_path)
    for domain in ("com.microsoft", "ai.onnx.contrib", "x" * 5000):
        for made in (
            graph(helper.make_node("Gemm", ["x", "w", "b"], ["y"], domain=domain)),
            in_a_branch(helper.make_node("Gemm", ["x", "w", "b"], ["out"], domain=domain)),
            in_a_list(helper.make_node("Gemm", ["x", "w", "b"], ["out"], domain=domain)),
        ):
            message = refused("unreadable", partial(inspected, made, tmp_path))
            assert f"the domain `{domain[:60]}`" in message


LOOP = helper.make_function("own", "F", ["x"], ["y"], [helper.make_node("F", ["x"], ["y"], domain="own")], [])


def with_dims(*dims: int) -> Graph:
    made = graph()
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    return made


def spelled(old: bytes, new: bytes, *nodes: onnx.NodeProto) -> bytes:
    assert len(old) == len(new)
    content: bytes = graph(*nodes).SerializeToString()
    return content.replace(old, new)


HOSTILE: dict[str, tuple[Callable[[], Graph | bytes], str, str]] = {
    "an empty file": (lambda: b"", "unreadable", "no node"),
    "HTML": (lambda: b"<html>not found</html>", "unreadable", "not an ONNX protobuf"),
    "noise": (lambda: b"\xff" * 100, "unreadable", "not an ONNX protobuf"),
    "functions that call themselves": (lambda: graph(functions=[LOOP]), "unreadable", "functions of its own"),
    "a cycle": (
        lambda: graph(helper.make_node("Add", ["x", "q"], ["p"]), helper.make_node("Relu", ["p"], ["q"]), GEMM),
        "unreadable",
        "sorted",
    ),
    "an unknown operator": (
        lambda: graph(helper.make_node("Frob", ["x"], ["y"])),
        "unreadable",
        "No Op registered for Frob",
    ),
    "an opset of the future": (
        lambda: graph(opset_imports=[helper.make_opsetid("", 9999)]),
        "unreadable",
        "it uses opset 9999",
    ),
    "negative dimensions": (lambda: with_dims(-4, 2), "unreadable", "Negative"),
    "dimensions that overflow": (lambda: with_dims(2**62, 2**62), "unreadable", "overflow"),
    "text": (lambda: graph(inputs=[value("x", ["n", 4], TensorProto.STRING)]), "unreadable", "string"),
    "two inputs of one plain name": (
        lambda: graph(inputs=[value("x", ["n", 4]), value("a/b", ["n", 4]), value("a:b", ["n", 4])]),
        "bad_rename",
        "['a_b']",
    ),
    "nine inputs": (
        lambda: graph(inputs=[value("x", ["n", 4]), *(value(f"x{i}", ["n", 4]) for i in range(8))]),
        "unreadable",
        "9 inputs",
    ),
    "an input without rows": (
        lambda: graph(inputs=[value("x", ["n", 4]), value("rate", [])]),
        "open_shape",
        '"constant"',
    ),
    "no input": (
        lambda: graph(helper.make_node("Identity", ["w"], ["y"]), inputs=[value("w", [4, 2])]),
        "unreadable",
        "0 inputs",
    ),
    "a row of open shape that no trial meets": (
        lambda: graph(inputs=[value("x", ["n", "k"])], weights={"w": np.ones((5, 2), np.float32), "b": W[0]}),
        "open_shape",
        "['n', 'k']",
    ),
    "rows of 2^32 numbers": (
        lambda: graph(
            helper.make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0),
            inputs=[value("x", ["n", 2**16, 2**16])],
            outputs=[value("y", ["n"])],
        ),
        "shape_mismatch",
        "rows of 4294967296 numbers",
    ),
    "a batch of 2^40 rows": (
        lambda: graph(inputs=[value("x", [2**40, 4])], outputs=[value("y", [2**40, 2])]),
        "shape_mismatch",
        "1099511627776 rows",
    ),
    "integers out": (
        lambda: graph(
            helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64),
            outputs=[value("y", ["n", 4], TensorProto.INT64)],
        ),
        "wrong_output",
        "is int64",
    ),
    "one number for all rows": (
        lambda: graph(helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0), outputs=[value("y", [])]),
        "wrong_output",
        "of shape []",
    ),
    "NaN out": (lambda: graph(weights={"w": W * np.nan, "b": np.zeros(2, np.float32)}), "not_finite", "`y` is NaN"),
    "a domain that is no UTF-8": (
        lambda: spelled(b"DOMAIN", b"\xff\xfe\0AIN", helper.make_node("Gemm", ["x", "w", "b"], ["y"], domain="DOMAIN")),
        "unreadable",
        "domain",
    ),
    "an operator that is no UTF-8": (lambda: spelled(b"Gemm", b"G\xffmm"), "unreadable", "utf-8"),
    "a value that is no UTF-8": (
        lambda: spelled(b"qqqq", b"q\xff\xfeq", helper.make_node("Relu", ["x"], ["qqqq"]), GEMM),
        "unreadable",
        "UTF-8",
    ),
}


@pytest.mark.parametrize("trap", HOSTILE)
def test_a_hostile_graph_is_refused_with_what_was_found(trap: str, tmp_path: Path) -> None:
    make, code, expected = HOSTILE[trap]
    message = refused(code, lambda: inspected(make(), tmp_path))
    assert expected in message
    assert str(tmp_path) not in message, "paths on the server are not disclosed"


def test_a_damaged_graph_is_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    codes = set()
    for content in mutations(graph().SerializeToString(), 600):
        try:
            inspected(content, tmp_path)
        except UserError as error:
            codes.add(error.code)
    assert codes <= {"unreadable", "open_shape", "shape_mismatch", "not_finite", "missing_output", "wrong_output"}
    assert "unreadable" in codes


def test_a_graph_that_loops_for_ever_is_refused_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engine.jobs.inspection.graphs.first_trial.TRIAL_SECONDS", 0.5)
    condition = value("go", [], TensorProto.BOOL)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Mul", ["state", "state"], ["next"])],
        "body",
        [value("i", [], TensorProto.INT64), condition, value("state", ["n", 2])],
        [value("on", [], TensorProto.BOOL), value("next", ["n", 2])],
    )
    loop = helper.make_node("Loop", ["many", "yes", "z"], ["y"], body=body)
    weights = {
        "w": W,
        "b": np.zeros(2, np.float32),
        "many": np.array(2**62, dtype=np.int64),
        "yes": np.array(True),
    }
    gemm = helper.make_node("Gemm", ["x", "w", "b"], ["z"])
    with pytest.raises(UserError) as caught:
        inspected(graph(gemm, loop, weights=weights), tmp_path)
    assert caught.value.code == "unreadable"
    assert "no answer" in caught.value.message


def test_probabilities_that_are_declared_as_logits_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"]), helper.make_node("Softmax", ["z"], ["y"])]
    with pytest.raises(UserError) as caught:
        inspected(graph(*nodes), tmp_path)
    assert caught.value.code == "wrong_output"
    assert "probabilities" in caught.value.message
    inspected(graph(*nodes), tmp_path, outputs={"y": {"kind": "class", "output": "probabilities"}})
