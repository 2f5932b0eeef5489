"""A graph of two inputs, one of them int64 tokens, with its weights in a second file: uploaded and distilled."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.e2e.conftest import Client

ROWS = 300


def folder_of_a_graph(path: Path) -> Path:
    """Out = the mean embedding of five tokens below 12, plus a linear map of four numbers; a zip."""
    table = np.repeat(np.eye(2, 3, dtype=np.float32), 6, axis=0) * 4
    data = table.tobytes()
    external = helper.make_tensor("table", TensorProto.FLOAT, table.shape, data, raw=True)
    external.ClearField("raw_data")
    external.data_location = TensorProto.EXTERNAL
    entry = external.external_data.add()
    entry.key, entry.value = "location", "model.onnx.data"
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids:0"], ["embedded"]),
            helper.make_node("ReduceMean", ["embedded"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["features", "w"], ["h"]),
            helper.make_node("Add", ["mean", "h"], ["Identity:0"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("ids:0", TensorProto.INT64, ["n", 5]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4]),
        ],
        [helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, ["n", 3])],
        [external, numpy_helper.from_array(np.eye(4, 3, dtype=np.float32) * 0.5, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("export/model.onnx", model.SerializeToString())
        archive.writestr("export/model.onnx.data", data)
    return path


def test_a_graph_of_tokens_and_numbers_is_distilled(client: Client, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, 12, (ROWS, 5))
    numbers = draw.normal(size=(ROWS, 4)).astype(np.float32)
    scores = np.repeat(np.eye(2, 3) * 4, 6, axis=0)[tokens].mean(1) + numbers[:, :3] * 0.5
    np.savez(tmp_path / "rows.npz", tokens=tokens, numbers=numbers, label=scores.argmax(1))
    dataset = client.upload(
        "datasets",
        {
            "name": "rows",
            "format": "npz",
            "inputs": {"tokens": {"kind": "array", "scale": 0.1}, "numbers": {"kind": "array"}},
            "targets": {"label": {"kind": "class", "classes": 3}},
        },
        tmp_path / "rows.npz",
    )
    assert dataset["state"] == "ready", dataset["rejection"]
    manifest: dict[str, Any] = {
        "name": "tokens and numbers",
        "format": "onnx",
        "rename": {"ids:0": "tokens", "features": "numbers"},
        "outputs": {"label": {"kind": "class"}},
        "reference": {
            "inputs": {"tokens": tokens[:3].tolist(), "numbers": numbers[:3].tolist()},
            "outputs": {"label": scores[:3].tolist()},
        },
    }
    folder = folder_of_a_graph(tmp_path / "folder.zip")
    model = client.upload("models", manifest, folder)
    assert model["state"] == "ready", model["rejection"]
    assert model["input_shapes"] == {"tokens": [5], "numbers": [4]}
    assert model["input_types"] == {"tokens": "int64", "numbers": "float32"}
    assert model["graph_outputs"] == {"label": "Identity:0"}
    assert model["parameters"] == 36 + 12
    assert [len(row) for row in model["examples"]["label"]] == [3, 3, 3]
    assert [file["role"] for file in model["files"]] == ["onnx"]
    wrong = manifest | {"reference": {**manifest["reference"], "outputs": {"label": [[0.0, 1.0, 2.0]] * 3}}}
    refused = client.upload("models", wrong, folder)
    assert refused["rejection"]["code"] == "reference_mismatch"
    spec = {
        "kind": "distill",
        "repeats": 1,
        "dataset": dataset["id"],
        "teachers": [{"model": model["id"]}],
        "student": {"family": "mlp", "hidden": [16]},
        "training": {"epochs": 30, "batch_size": 16, "learning_rate": 0.01, "threads": 1},
    }
    report = client.report(job := client.finish(spec))
    assert report["teachers"][0]["tasks"]["label"]["accuracy"] == 1.0
    assert report["student"]["tasks"]["label"]["accuracy"] > 0.6
    student = client.get(f"/v1/models/{job['student']}")
    assert student["input_shape"] == [9]
    assert list(student["inputs"]) == ["tokens", "numbers"]
    assert [len(row) for row in student["examples"]["label"]] == [3, 3, 3]
    weights = client.download(f"/v1/models/{job['student']}/weights", tmp_path / "student.safetensors")
    shapes = student["input_shapes"]
    inputs = {name: {**transform, "shape": shapes[name]} for name, transform in student["inputs"].items()}
    described = {"name": "again", "format": "safetensors", "inputs": inputs}
    described |= {part: student[part] for part in ("architecture", "outputs")}
    uploaded = client.upload("models", described, weights)
    assert uploaded["state"] == "ready", uploaded["rejection"]
    np.testing.assert_allclose(uploaded["examples"]["label"], student["examples"]["label"], atol=1e-5)
    again = client.http.post(
        "/v1/jobs?dry_run=true",
        json={**spec, "teachers": [{"model": job["student"]}], "student": {**spec["student"], "inputs": ["numbers"]}},
    )
    assert again.status_code == 200, again.text
    assert again.json()["spec"]["student"]["input_shape"] == [4]
