"""Inputs of graphs: of their own type, several, of open shape, filled with a constant."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from app.contracts.problems import UserError
from app.contracts.resolving.data.inputs import inputs_read
from app.contracts.wire.orders import ModelInput
from tests.engine.jobs.inspection.onnx_graphs import GEMM, Graph, W, graph, inspected, onnx_manifest, value
from tests.engine.jobs.inspection.uploads import refused
from workers.engine.data.rows.joined import InputLayout
from workers.engine.teachers.teacher import Teacher, open_teacher

CPU = torch.device("cpu")


def cast(kind: int, *, size: int = 4) -> Graph:
    """Y = x W of an input of another type."""
    return graph(
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"]),
        inputs=[value("x", ["n", size], kind)],
    )


def embedding(rows: int) -> Graph:
    """The mean of rows of a table that int64 tokens name: an index above the table is an error."""
    return graph(
        helper.make_node("Gather", ["table", "x"], ["h"]),
        helper.make_node("ReduceMean", ["h"], ["y"], axes=[1], keepdims=0),
        inputs=[value("x", ["n", 6], TensorProto.INT64)],
        weights={"table": np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)},
    )


def pooled() -> Graph:
    """The mean of each of three channels, of images of any size."""
    return graph(
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
        inputs=[value("x", ["n", 3, "h", "w"])],
        outputs=[value("y", ["n", 3])],
        weights={},
    )


def teacher(folder: Path, content: Graph, layout: dict[str, tuple[int, ...]], **manifest: Any) -> Teacher:
    facts = inspected(content, folder, **manifest)
    path = folder / "model.onnx"
    model = ModelInput(id="mdl", manifest=onnx_manifest(**manifest), facts=facts, path=str(path), sha256="0" * 64)
    return open_teacher(model, CPU, 1, InputLayout(layout))


INTEGERS = ["INT64", "INT32", "INT16", "INT8", "UINT8", "UINT16", "UINT32", "UINT64"]


@pytest.mark.parametrize("kind", INTEGERS)
def test_a_graph_is_fed_whole_numbers_in_its_own_type(kind: str, tmp_path: Path) -> None:
    rows = torch.tensor([[0.0, 1.0, 7.0, 100.0]])
    found = teacher(tmp_path, cast(TensorProto.DataType.Value(kind)), {"x": (4,)}).predict(rows)["y"]
    torch.testing.assert_close(found, rows @ torch.from_numpy(W))


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("INT64", 0.5),
        ("INT8", 128.0),
        ("UINT8", -1.0),
        ("UINT8", 256.0),
        ("INT64", 2.0**53),
        ("INT32", 2.0**31),
        ("BOOL", 2.0),
    ],
)
def test_numbers_that_the_type_does_not_have_are_refused(kind: str, number: float, tmp_path: Path) -> None:
    content = cast(TensorProto.DataType.Value(kind))
    with pytest.raises(UserError) as caught:
        teacher(tmp_path, content, {"x": (4,)}).predict(torch.tensor([[0.0, 1.0, 1.0, number]]))
    assert caught.value.code == "not_whole_numbers"
    assert "whole numbers from" in caught.value.message


def test_a_transform_that_makes_fractions_of_an_integer_input_is_refused_at_once(tmp_path: Path) -> None:
    refused("not_whole_numbers", lambda: inspected(cast(TensorProto.INT64), tmp_path, inputs={"x": {"scale": 0.3}}))


@pytest.mark.parametrize("rows", [2, 3, 50, 1000])
def test_tokens_are_tried_below_the_size_of_their_table(rows: int, tmp_path: Path) -> None:
    facts = inspected(embedding(rows), tmp_path)
    assert facts.input_types == {"x": "int64"}
    assert facts.reads_whole_numbers
    assert facts.parameters == rows * 2


def test_an_open_shape_is_null_and_that_of_the_dataset(tmp_path: Path) -> None:
    facts = inspected(pooled(), tmp_path)
    assert (facts.input_shape, facts.input_shapes) == (None, {"x": (3, None, None)})
    raw = torch.rand(2, 3, 5, 9)
    found = teacher(tmp_path, pooled(), {"x": (3, 5, 9)}).predict(raw)["y"]
    torch.testing.assert_close(found, raw.mean((2, 3)))
    for wrong in ((5, 9, 3), (1, 5, 9), (3, 45), (135,)):
        _, problem = inputs_read(facts, {"pixels": wrong})
        assert problem is not None
        assert "[3, any, any]" in problem.detail
        assert str(list(wrong)) in problem.detail


def test_the_manifest_fixes_an_open_shape(tmp_path: Path) -> None:
    facts = inspected(pooled(), tmp_path, inputs={"pixels": {"shape": [3, 7, 7], "mean": [0.1, 0.2, 0.3]}})
    assert facts.input_shape == (3, 7, 7)
    for shape in ([1, 7, 7], [147]):
        refused("shape_mismatch", partial(inspected, pooled(), tmp_path, inputs={"x": {"shape": shape}}))


def test_an_output_whose_size_follows_an_open_shape_needs_the_shape(tmp_path: Path) -> None:
    content = graph(
        helper.make_node("Flatten", ["x"], ["y"]), inputs=[value("x", ["n", 2, "t"])], outputs=[value("y", ["n", "k"])]
    )
    message = refused("open_shape", lambda: inspected(content, tmp_path))
    assert '"shape"' in message
    assert inspected(content, tmp_path, inputs={"x": {"shape": [2, 5]}}).outputs["y"].size == 10


TWO = [value("a", ["n", 4]), value("mask", ["n", 4])]


def product() -> Graph:
    return graph(
        helper.make_node("Mul", ["a", "mask"], ["h"]), helper.make_node("Gemm", ["h", "w", "b"], ["y"]), inputs=TWO
    )


@pytest.mark.parametrize(
    ("dataset", "manifest", "names"),
    [
        ({"a": (4,), "mask": (4,)}, {}, ("a", "mask")),
        ({"mask": (4,), "a": (4,)}, {}, ("a", "mask")),
        ({"p": (4,), "q": (4,)}, {"rename": {"a": "q", "mask": "p"}}, ("q", "p")),
        ({"a": (4,), "mask": (4,), "more": (9,)}, {"inputs": {"a": {}, "mask": {}}}, ("a", "mask")),
        ({"a": (2, 2), "mask": (4,)}, {}, None),
        ({"a": (4,)}, {}, None),
        ({"a": (4,), "mask": (5,)}, {}, None),
        ({"a": (4,), "mask": (4,), "more": (9,)}, {}, ("a", "mask")),
        ({"a": (4,), "b": (4,)}, {}, None),
    ],
)
def test_several_inputs_are_matched_by_name(
    dataset: dict[str, tuple[int, ...]], manifest: dict[str, Any], names: tuple[str, ...] | None, tmp_path: Path
) -> None:
    facts = inspected(product(), tmp_path, **manifest)
    read, problem = inputs_read(facts, dataset)
    if names is None:
        assert problem is not None or read == ("a", "mask")
        if problem is None:
            assert dataset["a"] == (2, 2), "flat rows and rows of a shape have the same numbers"
            return
        assert "`mask`" in problem.detail
        return
    assert problem is None
    assert read == names
    parts = {name: torch.rand(3, 4) for name in dataset if dataset[name] == (4,)}
    raw = torch.cat([parts.get(name, torch.rand(3, 9)) for name in dataset], dim=1)
    found = teacher(tmp_path, product(), dataset, **manifest).predict(raw)["y"]
    torch.testing.assert_close(found, (parts[names[0]] * parts[names[1]]) @ torch.from_numpy(W))


def test_the_only_input_left_has_the_manifests_name_in_every_fact(tmp_path: Path) -> None:
    """Trap: a transform that the inspection used under one name, and a job looked for under another."""
    facts = inspected(product(), tmp_path, inputs={"a": {}, "weights": {"scale": 0.5}})
    assert set(facts.inputs) == set(facts.input_shapes) == set(facts.graph_inputs) == {"a", "weights"}
    assert facts.inputs["weights"].scale == 0.5


def test_a_constant_fills_an_input_that_the_dataset_does_not_have(tmp_path: Path) -> None:
    """A sampling rate without a batch dimension, and a state whose second dimension is the batch."""
    content = graph(
        helper.make_node("ReduceSum", ["state", "axes"], ["s"], keepdims=0),
        helper.make_node("Unsqueeze", ["s", "one"], ["column"]),
        helper.make_node("Cast", ["rate"], ["r"], to=TensorProto.FLOAT),
        GEMM,
        helper.make_node("Add", ["y", "column"], ["z"]),
        helper.make_node("Mul", ["z", "r"], ["out"]),
        inputs=[value("x", ["n", 4]), value("rate", [], TensorProto.INT64), value("state", [2, "n", 3])],
        outputs=[value("out", ["n", 2])],
        weights={"w": W, "b": np.zeros(2, np.float32), "axes": np.array([0, 2]), "one": np.array([1])},
    )
    refused("open_shape", lambda: inspected(content, tmp_path))
    constants = {"rate": {"constant": 10}, "state": {"constant": 0.5}}
    facts = inspected(content, tmp_path, inputs=constants)
    assert facts.constants == {"rate": 10.0, "state": 0.5}
    assert (facts.input_shape, facts.input_shapes) == ((4,), {"x": (4,)})
    raw = torch.rand(5, 4)
    found = teacher(tmp_path, content, {"anything": (4,)}, inputs=constants).predict(raw)["y"]
    torch.testing.assert_close(found, (raw @ torch.from_numpy(W) + 3.0) * 10.0)


def test_a_graph_that_normalises_over_the_batch_or_draws_numbers_is_refused(tmp_path: Path) -> None:
    batch = graph(
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["c"]),
        helper.make_node("Gemm", ["c", "w", "b"], ["y"]),
    )
    assert "model.eval()" in refused("depends_on_batch", lambda: inspected(batch, tmp_path))
    noise = graph(
        helper.make_node("RandomNormalLike", ["x"], ["r"], scale=0.1),
        helper.make_node("Add", ["x", "r"], ["c"]),
        helper.make_node("Gemm", ["c", "w", "b"], ["y"]),
    )
    assert "two calls" in refused("not_deterministic", lambda: inspected(noise, tmp_path))
    fixed = graph(
        helper.make_node("Reshape", ["x", "shape"], ["c"]),
        helper.make_node("Gemm", ["c", "w", "b"], ["y"]),
        weights={"w": W, "b": np.zeros(2, np.float32), "shape": np.array([1, 4])},
    )
    assert "fails on 4" in refused("depends_on_batch", lambda: inspected(fixed, tmp_path))


def test_the_facts_show_the_outputs_of_three_rows(tmp_path: Path) -> None:
    facts = inspected(graph(), tmp_path, inputs={"x": {"scale": 0.5}})
    rows = np.stack([np.zeros(4), np.ones(4), np.arange(4) / 4]) * 0.5
    np.testing.assert_allclose(facts.examples["y"], rows @ W, rtol=1e-6)


@pytest.mark.parametrize("names", [{"x": "image", "xx": "other"}, {"scores": "y"}])
def test_a_name_to_rename_that_the_graph_does_not_have_is_refused(names: dict[str, str], tmp_path: Path) -> None:
    message = refused("bad_rename", lambda: inspected(graph(GEMM), tmp_path, rename=names))
    assert "the inputs `x` and the outputs `y`" in message


def test_a_constant_is_no_other_name_of_the_input_that_is_left(tmp_path: Path) -> None:
    message = refused("unknown_input", lambda: inspected(graph(GEMM), tmp_path, inputs={"zz": {"constant": 0}}))
    assert "zz" in message
