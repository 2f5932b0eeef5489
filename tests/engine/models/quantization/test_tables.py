"""Tables of embeddings in int8: the rows that are looked up, a quarter of the bytes."""

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workers.engine.models.quantization.tables import quantize_tables

ROWS, WIDTH = 50, 16


def graph_of(table: NDArray[np.float32], *, shared: bool = False) -> onnx.ModelProto:
    """Ids [n, tokens] -> rows of a table [n, tokens, width]; `shared`: the table is a factor as well."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["rows"])]
    outputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", "t", WIDTH])]
    if shared:
        nodes += [
            helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
            helper.make_node("MatMul", ["rows", "turned"], ["scores"]),
        ]
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", "t", ROWS]))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"])
    graph = helper.make_graph(nodes, "g", [ids], outputs, [numpy_helper.from_array(table, "table")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def looked_up(model: onnx.ModelProto, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(["rows"], {"ids": ids})[0]
    return found


def test_each_row_is_as_exact_as_its_own_largest_number_allows() -> None:
    draw = np.random.default_rng(0)
    table = (draw.normal(size=(ROWS, WIDTH)) * 10.0 ** draw.integers(-4, 3, (ROWS, 1))).astype(np.float32)
    table[0] = 0.0
    model, ids = graph_of(table), draw.integers(0, ROWS, (3, 7))
    size = model.ByteSize()
    quantize_tables(model)
    onnx.checker.check_model(model)
    largest = np.abs(table).max(1)
    assert (np.abs(looked_up(model, ids) - table[ids]) <= largest[ids][:, :, None] / 254 * 1.001).all()
    assert not looked_up(model, np.zeros((1, 1), np.int64)).any()
    assert model.ByteSize() < 0.5 * size


def test_a_table_that_is_also_a_factor_stays_as_it_is() -> None:
    model = graph_of(np.ones((ROWS, WIDTH), np.float32), shared=True)
    before = model.SerializeToString()
    quantize_tables(model)
    assert model.SerializeToString() == before
