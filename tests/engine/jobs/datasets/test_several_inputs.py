"""Datasets of several inputs: what a student and each kind of teacher reads of them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper

from app.contracts.wire.orders import ModelInput
from tests.engine.harness import TEACHER, Arrays, EngineHarness, report_of
from tests.engine.jobs.inspection.onnx_graphs import Graph, graph, onnx_manifest, value
from workers.engine.common.files import sha256_of
from workers.engine.data.rows.joined import InputLayout
from workers.engine.jobs.inspection.onnx_models import inspect_onnx_model
from workers.engine.teachers.teacher import open_teacher

ROWS = 200
CPU = torch.device("cpu")


def mixed() -> Arrays:
    """Tokens below 12, four numbers, small images; the label depends on the tokens and the numbers."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, 12, (ROWS, 5))
    numbers = draw.normal(size=(ROWS, 4)).astype(np.float32) * 3 + 1
    label = (tokens[:, 0] > 5).astype(np.int64) + (numbers[:, 0] > 1)
    return {
        "tokens": tokens,
        "numbers": numbers,
        "image": draw.integers(0, 256, (ROWS, 1, 4, 4)).astype(np.uint8),
        "label": label,
    }


TARGET = {"targets": {"label": {"kind": "class", "classes": 3}}}
FLAT: dict[str, Any] = {
    **TARGET,
    "inputs": {"tokens": {"kind": "array", "scale": 0.1}, "numbers": {"kind": "array", "standardize": True}},
}
TABLE: np.ndarray[Any, np.dtype[np.float32]] = np.repeat(np.eye(2, 3, dtype=np.float32), 6, axis=0) * 4


def two_inputs() -> Graph:
    """Out = the mean of an embedding of int64 tokens, plus a linear map of four numbers."""
    return graph(
        helper.make_node("Gather", ["table", "ids:0"], ["embedded"]),
        helper.make_node("ReduceMean", ["embedded"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["features", "w"], ["h"]),
        helper.make_node("Add", ["mean", "h"], ["out"]),
        inputs=[value("features", ["n", 4]), value("ids:0", ["n", 5], TensorProto.INT64)],
        outputs=[value("out", ["n", 3])],
        weights={"table": TABLE, "w": np.eye(4, 3, dtype=np.float32)[:, [2, 0, 1]]},
    )


def onnx_teacher(harness: EngineHarness, content: Graph, **manifest: Any) -> ModelInput:
    path = harness.folder / "teacher.onnx"
    path.write_bytes(content.SerializeToString())
    parsed = onnx_manifest(outputs={"label": {"kind": "class"}}, **manifest)
    facts = inspect_onnx_model(path, parsed)
    model = ModelInput(id=TEACHER, manifest=parsed, facts=facts, path=str(path), sha256=sha256_of(path))
    harness.models[TEACHER] = model
    return model


def distil(**student: Any) -> dict[str, Any]:
    return {
        "kind": "distill",
        "target": "label",
        "teachers": [{"model": TEACHER}],
        "student": {"family": "mlp", "hidden": [4], **student},
        "distillation": {"allow_chance_teacher": True},
        "training": {"epochs": 1},
    }


def test_a_graph_of_two_inputs_teaches_a_student_that_reads_both(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    arrays = mixed()
    harness.dataset(arrays, **FLAT)
    rename = {"ids:0": "tokens", "features": "numbers"}
    model = onnx_teacher(harness, two_inputs(), rename=rename)
    assert model.facts is not None
    assert model.facts.input_shapes == {"numbers": (4,), "tokens": (5,)}
    assert model.facts.input_types == {"numbers": "float32", "tokens": "int64"}
    outcome = harness.run(distil())
    report = report_of(outcome)
    assert report.teachers[0].tasks["label"]["accuracy"] is not None
    teacher = open_teacher(model, CPU, 1, InputLayout({"tokens": (5,), "numbers": (4,)}))
    raw = torch.cat([torch.from_numpy(arrays["tokens"]).float(), torch.from_numpy(arrays["numbers"])], dim=1)
    expected = TABLE[arrays["tokens"]].mean(1) + arrays["numbers"] @ np.eye(4, 3)[:, [2, 0, 1]]
    np.testing.assert_allclose(teacher.predict(raw)["label"].numpy(), expected, rtol=1e-5, atol=1e-5)
    assert outcome.student.input_shape == (9,)
    assert outcome.student.input_shapes == {"tokens": (5,), "numbers": (4,)}
    assert list(outcome.student_manifest.inputs) == ["tokens", "numbers"]


def test_a_student_of_several_inputs_teaches_as_it_was_trained(tmp_path: Path) -> None:
    """By names in any order of the dataset, and on rows that are one input already."""
    harness = EngineHarness(tmp_path)
    arrays = mixed()
    harness.dataset(arrays, **FLAT)
    outcome = harness.run({"kind": "train", "model": {"family": "mlp", "hidden": [4]}, "training": {"epochs": 1}})
    model = harness.teacher(outcome, tmp_path / "job" / "attempt-1")
    tokens, numbers = torch.from_numpy(arrays["tokens"]).float(), torch.from_numpy(arrays["numbers"])
    as_trained = open_teacher(model, CPU, 1, InputLayout({"tokens": (5,), "numbers": (4,)}))
    turned = open_teacher(model, CPU, 1, InputLayout({"numbers": (4,), "tokens": (5,)}))
    single = open_teacher(model, CPU, 1, InputLayout({"x": (9,)}))
    expected = as_trained.predict(torch.cat([tokens, numbers], 1))["label"]
    assert torch.equal(turned.predict(torch.cat([numbers, tokens], 1))["label"], expected)
    torch.testing.assert_close(single.predict(torch.cat([tokens, numbers], 1))["label"], expected, rtol=0, atol=1e-5)
    scaled = (tokens * 0.1).std()
    assert 0.1 < float(scaled) < 1.0, "the transform of each input is its own"


def test_a_student_reads_the_inputs_that_it_selects(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    arrays = mixed()
    image = {"image": {"kind": "array", "scale": 1 / 255}}
    harness.dataset(arrays, **{**FLAT, "inputs": {**image, **FLAT["inputs"]}})
    spec: dict[str, Any] = {"kind": "train", "model": {"family": "convnet", "channels": [2], "inputs": ["image"]}}
    outcome = harness.run({**spec, "training": {"epochs": 1}}, job="several")
    assert outcome.student.input_shapes == {"image": (1, 4, 4)}
    assert outcome.student.architecture is not None
    assert outcome.student.architecture.inputs is None
    alone = EngineHarness(tmp_path / "alone")
    alone.folder.mkdir()
    alone.dataset(arrays, **{**TARGET, "inputs": image})
    del spec["model"]["inputs"]
    alone.run({**spec, "training": {"epochs": 1}})
    first, second = harness.weights("several"), alone.weights()
    assert all(torch.equal(first[name], second[name]) for name in second), "as if the dataset had no other input"


def test_controls_of_other_inputs_are_not_shared(tmp_path: Path) -> None:
    harness = EngineHarness(tmp_path)
    arrays = mixed()
    arrays["other"] = arrays["tokens"][::-1].copy()
    two = {name: {"kind": "array"} for name in ("tokens", "other")}
    harness.dataset(arrays, **{**TARGET, "inputs": two})
    onnx_teacher(
        harness,
        graph(
            helper.make_node("Gemm", ["tokens", "w", "b"], ["y"]),
            inputs=[value("tokens", ["n", 5])],
            outputs=[value("y", ["n", 3])],
            weights=linear(),
        ),
    )
    one = report_of(harness.run(distil(inputs=["tokens"]), job="one"))
    other = report_of(harness.run(distil(inputs=["other"]), job="other"))
    again = report_of(harness.run(distil(inputs=["tokens"]), job="again"))
    assert one.control is not None
    assert other.control is not None
    assert again.control is not None
    assert (one.control.cached, other.control.cached, again.control.cached) == (False, False, True)


def linear() -> Arrays:
    draw = np.random.default_rng(3)
    return {"w": draw.normal(size=(5, 3)).astype(np.float32), "b": np.zeros(3, np.float32)}
