"""ONNX of a model after the fact: of a student on the rows as they were uploaded, and of an upload."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save_file

from tests.e2e.conftest import Client

ONNX = {"format": "onnx"}


def exported(client: Client, model: str, target: Path) -> Path:
    job = client.http.post(f"/v1/models/{model}/exports", json=ONNX).json()
    job = client.get(f"/v1/jobs/{job['id']}?wait=60")
    assert job["state"] == "succeeded", job
    return client.download(f"/v1/models/{model}/weights?format=onnx", target)


def outputs(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, _ = session.run(["y.logits", "y.probabilities"], {session.get_inputs()[0].name: x})
    return np.asarray(logits)


def test_students_and_uploads_have_onnx_after_the_fact(client: Client, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    target = {"y": {"kind": "class", "classes": 2}}
    manifest = {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array", "standardize": True}}}
    manifest["targets"] = target
    dataset = client.upload("datasets", manifest, tmp_path / "d.npz")["id"]
    network = {"family": "mlp", "hidden": [5]}
    job = client.finish({"kind": "train", "dataset": dataset, "model": network, "training": {"epochs": 1}})
    student = exported(client, job["student"], tmp_path / "student.onnx")
    assert outputs(student, x).shape == (90, 2)
    rows = np.stack([np.zeros(4), np.ones(4), np.arange(4) / 4]).astype(np.float32)
    model = client.get(f"/v1/models/{job['student']}")
    np.testing.assert_allclose(model["examples"]["y"], outputs(student, rows), atol=1e-5)
    assert model["raw_inputs"]["x"].items() >= {"input": "x", "dtype": "float32", "shape": [4], "columns": None}.items()
    graph = {"name": "again", "format": "onnx", "outputs": {"y": {"kind": "class"}}}
    uploaded = client.upload("models", graph, student)
    assert uploaded["warnings"] == []
    assert uploaded["raw_inputs"]["x"].items() >= {"input": "x", "shape": [4], "transform_in_graph": False}.items()
    assert uploaded["inputs"] == {"x": {"scale": 1.0, "mean": 0.0, "std": 1.0}}
    np.testing.assert_allclose(uploaded["examples"]["y"], model["examples"]["y"], atol=1e-5)
    assert "# A network of the family `mlp`" in onnx.load(student).metadata_props[0].value
    roles = [file["role"] for file in client.get(f"/v1/models/{job['student']}")["files"]]
    assert roles == ["weights", "onnx"]

    weight, bias = torch.randn(3, 4), torch.randn(3)
    save_file({"fc.weight": weight, "fc.bias": bias}, tmp_path / "own.safetensors")
    architecture = {"family": "mlp", "input_shape": [4], "hidden": [], "outputs": {"y": 3}}
    described = {"name": "own", "format": "safetensors", "architecture": architecture, "rename": {"fc": "layers.0"}}
    upload = client.upload("models", {**described, "outputs": {"y": {"kind": "class"}}}, tmp_path / "own.safetensors")
    own = client.download(f"/v1/models/{upload['id']}/weights?format=onnx&wait=60", tmp_path / "own.onnx")
    takes = client.get(f"/v1/models/{upload['id']}")["raw_inputs"]["x"]
    assert (takes["input"], takes["dtype"], takes["shape"]) == ("x", "float32", [4])
    expected = torch.from_numpy(x) @ weight.T + bias
    np.testing.assert_allclose(outputs(own, x), expected.numpy(), atol=1e-4)
    again = client.http.post(f"/v1/models/{upload['id']}/exports", json=ONNX)
    assert (again.status_code, again.json()["state"]) == (202, "succeeded")
