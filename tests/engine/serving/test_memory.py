"""A session of predictions keeps nothing of what a request took."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from workers.engine.common import onnx_session as sessions
from workers.engine.common.onnx_session import give_memory_back, onnx_session

MB = 1 << 20
COLUMNS = 16 * MB
"""Numbers of 4 bytes that a row becomes inside the graph, twice."""


def _graph() -> bytes:
    """X [n, 1] -> the sum of as many numbers as COLUMNS."""
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["wide"]),
        helper.make_node("Exp", ["wide"], ["grown"]),
        helper.make_node("ReduceSum", ["grown"], ["y"], keepdims=1),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in ("x", "y")]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, COLUMNS])
    graph = helper.make_graph(nodes, "wide", ends[:1], ends[1:], [shape])
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    onnx.checker.check_model(content)
    return content


def _resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize("gives_back", [False, True])
def test_memory_of_a_large_request_is_free_after_it_in_a_process_that_gives_it_back(
    gives_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_keeps_memory", True)
    if gives_back:
        give_memory_back()
    session, x = onnx_session(_graph(), 1), np.zeros((1, 1), np.float32)
    before = _resident()
    (y,) = session.run(None, {"x": x})
    kept = _resident() - before
    assert float(np.asarray(y)[0, 0]) == pytest.approx(COLUMNS, rel=1e-3)
    assert (kept < 16 * MB) is gives_back, f"{kept:,} bytes are kept"
