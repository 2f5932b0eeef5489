"""Outputs of graphs: names of any letters, ZipMap, the single table of scores; quantised operators; stored numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.contracts.resources.manifests import ClassOutput
from tests.engine.jobs.inspection.onnx_graphs import Graph, W, graph, inspected, value
from tests.engine.jobs.inspection.uploads import refused
from workers.engine.jobs.inspection.graphs.counting import stored_numbers

C: dict[str, Any] = {"kind": "class"}


def named(*names: str) -> Graph:
    """Outputs of these names: scores, twice the scores, three times…"""
    nodes = [helper.make_node("Mul", ["y", f"k{i}"], [name]) for i, name in enumerate(names)]
    factors = {f"k{i}": np.array(i + 1, np.float32) for i in range(len(names))}
    weights = {"w": W, **factors}
    scores = helper.make_node("MatMul", ["x", "w"], ["y"])
    return graph(scores, *nodes, outputs=[value(name, ["n", 2]) for name in names], weights=weights)


@pytest.mark.parametrize(
    ("names", "wanted", "rename", "expected"),
    [
        (["Identity:0", "Identity_1:0"], ["Identity_0"], {}, {"Identity_0": "Identity:0"}),
        (["Identity:0", "Identity_1:0"], ["b"], {"Identity_1:0": "b"}, {"b": "Identity_1:0"}),
        (["a", "b"], ["b", "other"], {}, {"b": "b", "other": "a"}),
        (["a", "b"], ["b", "a"], {}, {"b": "b", "a": "a"}),
        (["a", "b"], ["a"], {"b": "a", "a": "c"}, {"a": "b"}),
    ],
)
def test_outputs_are_matched_by_rename_name_and_plain_name_and_the_last_one_is_taken(
    names: list[str], wanted: list[str], rename: dict[str, str], expected: dict[str, str], tmp_path: Path
) -> None:
    facts = inspected(named(*names), tmp_path, outputs=dict.fromkeys(wanted, C), rename=rename)
    assert facts.graph_outputs == expected
    assert [warning["code"] for warning in facts.warnings] == (["output_taken"] if "other" in wanted else [])
    examples = {name: facts.examples[name][1] for name in wanted}
    for name, graph_name in expected.items():
        np.testing.assert_allclose(examples[name], W.sum(0) * (names.index(graph_name) + 1), rtol=1e-6)


def test_what_is_ambiguous_or_missing_is_refused(tmp_path: Path) -> None:
    refused("missing_output", lambda: inspected(named("a:0", "a/0"), tmp_path, outputs={"a_0": C, "z": C}))
    message = refused("missing_output", lambda: inspected(named("a", "b", "c"), tmp_path, outputs={"a": C, "z": C}))
    assert "`rename`" in message
    two = {"colour": C, "shape": C}
    refused("missing_output", lambda: inspected(named("head_shape", "head_colour"), tmp_path, outputs=two))


def classical(zipmap: bool) -> Graph:
    """As scikit-learn's converter writes a classifier: labels, and scores by a ZipMap or not."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["s"]),
        helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
        helper.make_node("Softmax", ["s"], ["p"]),
    ]
    table = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    scores = helper.make_value_info("probabilities", helper.make_sequence_type_proto(table))
    if zipmap:
        nodes.append(
            helper.make_node("ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
        )
    else:
        nodes.append(helper.make_node("Identity", ["p"], ["probabilities"]))
        scores = value("probabilities", ["n", 2])
    return graph(*nodes, outputs=[value("label", ["n"], TensorProto.INT64), scores])


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize("name", ["probabilities", "digit"])
def test_a_zipmap_is_cut_off_and_labels_beside_the_scores_are_left(name: str, zipmap: bool, tmp_path: Path) -> None:
    facts = inspected(classical(zipmap), tmp_path, outputs={name: {"kind": "class", "output": "probabilities"}})
    assert facts.graph_outputs == {name: "probabilities"}
    assert facts.outputs[name].size == 2
    assert (tmp_path / "converted.onnx").exists() is zipmap


def classifier(labels: list[str] | list[int], zipmap: bool) -> Graph:
    """A linear classifier of as many classes, as scikit-learn's converter writes it."""
    kind = "classlabels_ints" if isinstance(labels[0], int) else "classlabels_strings"
    own: dict[str, Any] = {kind: labels}
    scores = "p" if zipmap else "probabilities"
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["x"],
            ["label", scores],
            domain="ai.onnx.ml",
            coefficients=[float(i) for i in range(4 * len(labels))],
            intercepts=[0.0] * len(labels),
            multi_class=1,
            post_transform="SOFTMAX",
            **own,
        )
    ]
    element = TensorProto.INT64 if isinstance(labels[0], int) else TensorProto.STRING
    output = value("probabilities", ["n", len(labels)])
    if zipmap:
        named: dict[str, Any] = {kind.replace("ints", "int64s"): labels}
        nodes.append(helper.make_node("ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", **named))
        table = helper.make_map_type_proto(element, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        output = helper.make_value_info("probabilities", helper.make_sequence_type_proto(table))
    return graph(*nodes, outputs=[value("label", ["n"], element), output])


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["high", "low", "medium"], ("high", "low", "medium")),
        ([2, 1, 0], ("2", "1", "0")),
        ([0, 1, 2], None),
    ],
)
def test_the_class_names_of_a_classifier_are_taken_with_a_word(
    labels: list[str] | list[int], named: tuple[str, ...] | None, zipmap: bool, tmp_path: Path
) -> None:
    output = {"kind": "class", "output": "probabilities"}
    facts = inspected(classifier(labels, zipmap), tmp_path, outputs={"y": output})
    spec = facts.outputs["y"].spec
    assert isinstance(spec, ClassOutput)
    assert spec.classes == named
    assert [warning["code"] for warning in facts.warnings] == ([] if named is None else ["class_names_taken"])
    other = {**output, "classes": [str(label) for label in reversed(labels)]}
    if named is not None:
        message = refused("wrong_output", lambda: inspected(classifier(labels, zipmap), tmp_path, outputs={"y": other}))
        assert "in the order of the graph" in message
    own = inspected(classifier(labels, zipmap), tmp_path, outputs={"y": {**output, "classes": ["a", "b", "c"]}})
    assert own.warnings == ()


def test_operators_that_the_runtime_ships_are_allowed_and_others_of_its_domain_are_not(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    fused = graph(
        helper.make_node("FusedMatMul", ["x", "w"], ["h"], domain="com.microsoft", alpha=2.0),
        helper.make_node("Gelu", ["h"], ["y"], domain="com.microsoft"),
        opset_imports=opsets,
    )
    assert inspected(fused, tmp_path).outputs["y"].size == 2
    dynamic = graph(
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulIntegerToFloat", ["q", "wq", "s", "ws", "z"], ["y"], domain="com.microsoft"),
        weights={"wq": (W * 100).astype(np.int8), "ws": np.array(0.01, np.float32)},
        opset_imports=opsets,
    )
    assert inspected(dynamic, tmp_path).parameters == 9
    other = graph(helper.make_node("Tokenizer", ["x"], ["y"], domain="com.microsoft"), opset_imports=opsets)
    assert "`Tokenizer`" in refused("unreadable", lambda: inspected(other, tmp_path))


def test_every_stored_number_is_counted() -> None:
    int8 = numpy_helper.from_array(np.zeros((3, 5), np.int8), "q")
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=int8)], "branch", [], [value("c", None)])
    nodes = [
        helper.make_node("Constant", [], ["a"], value_floats=[1.0, 2.0]),
        helper.make_node("Constant", [], ["k"], value_int=3),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
        helper.make_node(
            "TreeEnsembleRegressor",
            ["x"],
            ["t"],
            domain="ai.onnx.ml",
            nodes_values=[0.5, 0.0, 0.0],
            nodes_featureids=[0, 0, 0],
            target_weights=[1.0, 2.0],
        ),
        helper.make_node(
            "LinearRegressor", ["x"], ["l"], domain="ai.onnx.ml", coefficients=[1.0] * 4, intercepts=[1.0]
        ),
    ]
    weights = {"w": W, "half": np.zeros(7, np.float16), "yes": np.array(True), "name": np.array(["text"], object)}
    assert stored_numbers(graph(*nodes, weights=weights)) == 2 + 1 + 15 * 2 + 3 + 2 + 4 + 1 + 8 + 7 + 1


def squeezed(batch: int, shape: list[int], columns: int = 2) -> Graph:
    """A graph with a fixed batch whose output has lost it."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"]),
        helper.make_node("ReduceSum", ["s", "axes"], ["y"], keepdims=0),
    ]
    weights: dict[str, Any] = {"w": W[:, :columns].copy(), "axes": np.array([0], np.int64)}
    return graph(*nodes, inputs=[value("x", [batch, 4])], outputs=[value("y", shape)], weights=weights)


@pytest.mark.parametrize("kind", ["class", "vector", "multilabel"])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_output_without_the_batch_dimension_is_named_with_what_to_export(
    batch: int, kind: str, tmp_path: Path
) -> None:
    wrong = squeezed(batch, [2])
    message = refused("wrong_output", lambda: inspected(wrong, tmp_path, outputs={"y": {"kind": kind}}))
    assert "`y` has shape [2] for a batch of fixed size, expected [batch, size]" in message
    assert "without squeezing" in message


def open_maps(step: int, sides: list[str]) -> Graph:
    """Scores of 4 classes, one for each `step` x `step` pixels of images of any size."""
    node = helper.make_node("Conv", ["x", "w"], ["map"], kernel_shape=[1, 1], strides=[step, step])
    weights = {"w": np.ones((4, 3, 1, 1), np.float32)}
    shape = [value("x", ["n", 3, *sides])], [value("map", ["n", 4, "rows", "columns"])]
    return graph(node, inputs=shape[0], outputs=shape[1], weights=weights)


@pytest.mark.parametrize(("step", "side"), [(1, 16), (2, 32)])
def test_a_map_of_images_of_any_size_names_the_shape_of_images_for_which_it_has_its_own(
    step: int, side: int, tmp_path: Path
) -> None:
    manifest: dict[str, Any] = {"outputs": {"map": {"kind": "map", "shape": [16, 12]}}}
    content = open_maps(step, ["height", "width"])
    message = refused("wrong_output", lambda: inspected(content, tmp_path, **manifest))
    inputs = {"x": {"shape": [3, side, 12 * step]}}
    assert f'ran on rows of open size (`x` [3, 32, 32]): fix it by "inputs": {json.dumps(inputs)}' in message
    assert inspected(content, tmp_path, **manifest, inputs=inputs).outputs["map"].size == 4
    wrong = {**manifest, "inputs": {"x": {"shape": [3, 8, 8]}}}
    assert ": correct `shape`, or" in refused("wrong_output", lambda: inspected(content, tmp_path, **wrong))


UNKNOWN: dict[str, tuple[Graph, str]] = {
    "a newer opset": (graph(opset_imports=[helper.make_opsetid("", 99)]), "`torch.onnx.export(…, opset_version=17)`"),
    "a newer IR": (graph(ir_version=99), "`model.ir_version = 9`"),
    "an input of unknown rank": (graph(inputs=[value("x", None)]), "input `x` does not say how many dimensions"),
    "an output of unknown rank": (graph(outputs=[value("y", None)]), "output `y` does not say how many dimensions"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_onnx_itself_refuses_has_a_way_out(what: str, tmp_path: Path) -> None:
    content, expected = UNKNOWN[what]
    message = refused("unreadable", lambda: inspected(content, tmp_path))
    assert expected in message
    assert "/onnxruntime" not in message
