"""Graphs y = x that take any time or memory for some of their rows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from tests.engine.jobs.inspection.onnx_graphs import Graph, graph, value

FOR_EVER = 2**62
BYTES = 1 << 33
"""More than a run of few rows may take."""
_WEIGHTS: dict[str, NDArray[np.generic]] = {
    "zero": np.zeros(1, np.int64),
    "yes": np.array(True),
    "for ever": np.array(FOR_EVER, np.int64),
    "numbers": np.array([BYTES // 4], np.int64),
    "nothing": np.array(0.0, np.float32),
}
_Y = [value("y", ["n", 4])]


def _made(*nodes: NodeProto, **weights: NDArray[np.generic]) -> Graph:
    return graph(*nodes, outputs=_Y, weights={**_WEIGHTS, **weights})


def _largest(kind: int = TensorProto.INT64) -> list[NodeProto]:
    """`count`: the largest number of the rows, as a whole one."""
    return [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["count"], to=kind),
    ]


def _loop(count: str, y: str) -> NodeProto:
    """A loop that adds nothing, so many times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["state", "nothing"], ["next"])],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", ["n", 4])],
        [value("on", [], TensorProto.BOOL), value("next", ["n", 4])],
    )
    return helper.make_node("Loop", [count, "yes", "x"], [y], body=body)


def _sum_of(count: str, y: str) -> list[NodeProto]:
    """X, and the sum of so many zeros."""
    return [
        helper.make_node("ConstantOfShape", [count], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], [y]),
    ]


def _where_rows(operator: str, rows: int, then: list[NodeProto]) -> Graph:
    """`then`, which makes z, where the number of rows compares so, and x elsewhere."""
    branch = helper.make_graph(then, "then", [], [value("z", None)])
    same = helper.make_graph([helper.make_node("Identity", ["x"], ["z2"])], "else", [], [value("z2", None)])
    return _made(
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node(operator, ["n", "rows"], ["where"]),
        helper.make_node("If", ["where"], ["y"], then_branch=branch, else_branch=same),
        rows=np.array([rows], np.int64),
    )


def endless_where_rows(operator: str, rows: int) -> Graph:
    """A loop without an end where the number of rows compares so (`Less`, `Equal`, `Greater`)."""
    return _where_rows(operator, rows, [_loop("for ever", "z")])


def large_where_rows(operator: str, rows: int) -> Graph:
    """Eight GiB there."""
    return _where_rows(operator, rows, _sum_of("numbers", "z"))


def other_where_rows(operator: str, rows: int) -> Graph:
    """Another answer there."""
    return _where_rows(operator, rows, [helper.make_node("Neg", ["x"], ["z"])])


def loops_by_value() -> Graph:
    """As many turns as the largest number."""
    return _made(*_largest(), _loop("count", "y"))


def loops_by_negative_value() -> Graph:
    """As many turns as the smallest number, without its sign."""
    return _made(
        helper.make_node("ReduceMin", ["x"], ["smallest"], keepdims=0),
        helper.make_node("Neg", ["smallest"], ["size"]),
        helper.make_node("Cast", ["size"], ["count"], to=TensorProto.INT64),
        _loop("count", "y"),
    )


def numbers_by_value() -> Graph:
    """As many zeros as the largest number."""
    return _made(*_largest(), helper.make_node("Unsqueeze", ["count", "zero"], ["shape"]), *_sum_of("shape", "y"))


UNBOUNDED: dict[str, Callable[[], Graph]] = {
    "endless for one row": lambda: endless_where_rows("Less", 2),
    "endless for 64 rows": lambda: endless_where_rows("Equal", 64),
    "endless for 256 rows": lambda: endless_where_rows("Equal", 256),
    "endless above 1000 rows": lambda: endless_where_rows("Greater", 1000),
    "endless for large numbers": loops_by_value,
    "endless for negative numbers": loops_by_negative_value,
    "large for 256 rows": lambda: large_where_rows("Equal", 256),
    "large for large numbers": numbers_by_value,
}


def other_in_batches_of(rows: int) -> Graph:
    """Adds 9 to the first score in batches of so many rows, without a branch."""
    return graph(
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Equal", ["shape", "rows"], ["is_whole"]),
        helper.make_node("Cast", ["is_whole"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["whole", "shift"], ["more"]),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Add", ["z", "more"], ["y"]),
        weights={
            "rows": np.array([rows]),
            "shift": np.array([9, 0], np.float32),
            "w": np.array([[-1, 1], [1, -1], [0, 0], [0, 0]], np.float32),
        },
    )
