"""Graphs of networks in float32, quantized after training or in float16, and made compact."""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ClassOutput, InputTransform
from tests.engine.export.raw_students import raw_student
from tests.engine.models.quantization.graphs import (
    feeds_of,
    integer_weights,
    outputs,
    outputs_of_graph,
    plain_answers,
    producers,
    rounding_step,
    some_rows,
    trained_ranges,
)
from tests.engine.models.sharing.networks import made, parsed, shared
from workers.engine.common.onnx_session import onnx_session
from workers.engine.export.graph_outputs import GraphOutputs
from workers.engine.export.onnx import RowsGraph, trace
from workers.engine.export.quantized_graphs import Quantization
from workers.engine.export.raw_student import RawStudent
from workers.engine.export.row_nodes import rows_name
from workers.engine.models import Network
from workers.engine.models.quantization.compact import compact
from workers.engine.models.quantization.copies import copied
from workers.engine.models.quantization.half import LARGEST, largest_number, to_half
from workers.engine.models.quantization.post_training import quantize_dynamically, quantize_statically

MOST_16_BITS = 2**15 - 1


@dataclass(frozen=True)
class Traced:
    network: Network
    x: Tensor
    graph: RowsGraph

    @property
    def quantization(self) -> Quantization:
        return Quantization(raw_student(self.network), self.graph, [feeds_of(self.x)], {})


@cache
def transformer() -> Traced:
    network = made(shared("transformer", "hard", depth=1)).eval()
    return Traced(network, some_rows(network, 64), trace(raw_student(network)))


@cache
def files() -> dict[str, onnx.ModelProto]:
    quantization = transformer().quantization
    found: dict[str, onnx.ModelProto] = {}
    found.update(quantization.graphs("int8").items())
    found.update(quantization.graphs("fp16").items())
    return found


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_two_products_of_a_weight_fit_into_16_bits(method: str) -> None:
    """The saturation trap of processors without VNNI: 255 · 127 · 2 is more than 16 bits hold, in silence."""
    largest = max(int(np.abs(each).max()) for each in integer_weights(files()[method]))
    assert largest >= 62
    assert 255 * largest * 2 <= MOST_16_BITS < 255 * 127 * 2


@pytest.mark.parametrize("method", ["static", "dynamic", "half"])
def test_a_file_follows_the_network(method: str) -> None:
    made = transformer()
    expected, ranges = outputs(made.network, made.x), trained_ranges(copy.deepcopy(made.network))
    found = outputs_of_graph(files()[method], made.network, made.x, block=1)
    for name, values in expected.items():
        allowed = 0.002 if method == "half" else 12 * rounding_step(made.network, ranges, name)
        assert 0.0 < float((found[name] - values).abs().max()) <= allowed


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_products_of_attention_stay_in_float32_and_so_do_logits(method: str) -> None:
    model = files()[method]
    made = producers(model)
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    attention = [node for node in products if all(made.get(name) != "DequantizeLinear" for name in node.input)]
    assert len(attention) == 2, "queries with keys, and their weights with values"
    for value in model.graph.output:
        assert made[value.name] not in ("DequantizeLinear", "QuantizeLinear")
    network = transformer().network
    logits = outputs_of_graph(model, network, some_rows(network, 1000), block=1000)["left"]
    assert len(torch.unique(logits[:, 0])) > 800, "256 steps would tie"


def test_weights_of_half_precision_are_all_in_16_bits() -> None:
    model = files()["half"]
    kinds = {each.data_type for each in model.graph.initializer if len(each.dims) > 1}
    assert kinds == {TensorProto.FLOAT16}
    assert {each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)} == {
        TensorProto.FLOAT
    }


def test_numbers_above_the_range_of_float16_are_refused_also_where_the_processor_has_no_float16() -> None:
    """The trap: a processor without float16 runs the graph in float32, where nothing overflows."""
    made = transformer()
    largest = largest_number(copied(made.graph.model), made.graph.network, [feeds_of(made.x)])
    assert largest < LARGEST
    wide = Quantization(raw_student(made.network), made.graph, [feeds_of(made.x * 1e5)], {})
    with pytest.raises(UserError, match="standardise the inputs") as error:
        wide.graphs("fp16")
    assert error.value.code == "out_of_half_range"


def test_what_a_mask_adds_to_scores_does_not_count_and_is_the_largest_number_of_float16() -> None:
    lowest = float(np.finfo(np.float32).min)
    masks = numpy_helper.from_array(np.array([0.0, lowest, 3.0], np.float32), "masks")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y", "z")]
    nodes = [
        helper.make_node("Add", ["x", "masks"], ["y"], name="masked"),
        helper.make_node("Softmax", ["y"], ["z"], name="weights"),
    ]
    graph = helper.make_graph(nodes, "attention", [values[0]], [values[2]], [masks], value_info=[values[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    rows = {"x": np.array([[1.0, -2.0, 0.5]], np.float32)}
    assert largest_number(copied(model), {"masked", "weights"}, [rows]) == 3.5
    halves = copied(model)
    to_half(halves, {"masked", "weights"})
    (kept,) = [numpy_helper.to_array(each) for each in halves.graph.initializer]
    np.testing.assert_array_equal(kept, np.array([0.0, -LARGEST, 3.0], np.float16))
    (found,) = onnx_session(halves.SerializeToString(), 1).run(["z"], rows)
    np.testing.assert_allclose(found[0], [np.exp(1), 0.0, np.exp(3.5)] / (np.exp(1) + np.exp(3.5)), atol=1e-3)


@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
def test_a_number_that_is_not_one_is_seen_in_whatever_place(order: int) -> None:
    """The trap: `max(1.0, nan)` is 1.0."""
    made = transformer()
    broken = torch.full_like(made.x, torch.nan)
    batches = [feeds_of(made.x), feeds_of(broken)][::order]
    assert np.isnan(largest_number(copied(made.graph.model), made.graph.network, batches))
    with pytest.raises(UserError) as error:
        Quantization(raw_student(made.network), made.graph, batches, {}).graphs("fp16")
    assert error.value.code == "out_of_half_range"


@pytest.mark.parametrize("block", [1, 3, 300])
def test_rows_are_made_for_many_blocks_at_once_and_have_the_same_outputs(block: int) -> None:
    made = transformer()
    x, asked = some_rows(made.network, 520), []

    def feeds(rows: Tensor) -> dict[str, Any]:
        asked.append(len(rows))
        return feeds_of(x[rows])

    chosen = torch.arange(519, -1, -1)
    found = GraphOutputs(made.graph.model, raw_student(made.network).outputs, feeds, block)(chosen)
    assert len(asked) <= 4
    expected = outputs_of_graph(made.graph.model, made.network, x[chosen])
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=0, atol=1e-5)


def as_made(method: str) -> onnx.ModelProto:
    """The graph before it is made compact."""
    made = transformer()
    model = copied(made.graph.model)
    match method:
        case "static":
            return quantize_statically(model, [feeds_of(made.x)])
        case "dynamic":
            return quantize_dynamically(model)
        case "half":
            to_half(model, made.graph.network)
    return model


@pytest.mark.parametrize("method", ["float", "static", "dynamic", "half"])
def test_compact_keeps_every_bit_and_the_public_names(method: str) -> None:
    before = as_made(method)
    smaller = copied(before)
    compact(smaller)
    assert smaller.ByteSize() < before.ByteSize()
    assert [each.name for each in smaller.graph.output] == [each.name for each in before.graph.output]
    x = transformer().x[:16]
    for one, other in zip(plain_answers(before, x), plain_answers(smaller, x), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_input_that_is_called_like_a_short_name_keeps_it() -> None:
    """Short names begin with `/`; rows of an input `0` are `0/rows`."""
    nodes = [
        helper.make_node("Identity", ["/1"], ["copy"]),
        helper.make_node("Mul", ["copy", "two"], ["product"], name="long"),
        helper.make_node("Mul", ["product", "also_two"], ["/0"]),
    ]
    constants = [numpy_helper.from_array(np.array([2.0], np.float32), name) for name in ("two", "also_two")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("/1", "/0")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    compact(model)
    assert len(model.graph.initializer) == 1
    onnx.checker.check_model(model, full_check=True)
    (found,) = onnx_session(model.SerializeToString(), 1).run(["/0"], {"/1": np.array([3.0], np.float32)})
    assert found.tolist() == [12.0]


def logits_of(transform: dict[str, Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs of a small classifier of such rows in float32, those of its half)."""
    network = made(parsed({"family": "mlp", "input_shape": [3], "hidden": [40], "outputs": {"y": 3}})).eval()
    student = RawStudent.of(network, {"x": InputTransform(**transform)}, {}, {"y": ClassOutput(kind="class")})
    graph = trace(student)
    model = Quantization(student, graph, [], {}).graphs("fp16")["half"]
    found = []
    for each in (graph.model, model):
        form = getattr(torch, student.forms["x"].rows)
        (logits,) = onnx_session(each.SerializeToString(), 1).run(["y.logits"], {rows_name("x"): x.to(form).numpy()})
        found.append(torch.from_numpy(logits))
    return found[0], found[1]


def test_rows_beyond_float16_and_far_from_zero_are_transformed_before_they_are_halved() -> None:
    """65504 is the largest number of float16, and near 1.7e9 float32 has steps of 128."""
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, half = logits_of({"mean": 1.7e9, "std": 2e5}, x * 2e5 + 1.7e9)
    assert torch.isfinite(half).all()
    assert float((whole - half).abs().max()) <= 0.01 < float(whole.std())


def test_a_network_without_layers_has_nothing_to_quantize() -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    bare = RowsGraph(helper.make_model(graph), frozenset())
    for wanted in ("int8", "fp16"):
        with pytest.raises(UserError) as refused:
            Quantization(raw_student(transformer().network), bare, [], {}).graphs(wanted)
        assert refused.value.code == "nothing_to_quantize"
        assert wanted in refused.value.message
