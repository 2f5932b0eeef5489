"""ONNX of a model after the fact, and its bundle: of a student on the rows as they were uploaded, and of an upload."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from tests.e2e.conftest import Client
from tests.engine.export.bundles.bare_python import answered, run_bare

ONNX = {"format": "onnx"}
ROWS = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
WEIGHT, BIAS = torch.randn(3, 4), torch.randn(3)
SIZES = {"layers.0.weight": (200, 4), "layers.0.bias": (200,), "layers.1.weight": (2, 200), "layers.1.bias": (2,)}
WIDE = {name: torch.randn(size, generator=torch.Generator().manual_seed(len(name))) for name, size in SIZES.items()}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exports")
    np.savez(path / "rows.npz", x=ROWS, y=(ROWS[:, 0] > 0).astype(np.int64))
    return path


@pytest.fixture(scope="module")
def dataset(client: Client, folder: Path) -> str:
    manifest: Json = {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array", "standardize": True}}}
    manifest["targets"] = {"y": {"kind": "class", "classes": 2}}
    return str(client.upload("datasets", manifest, folder / "rows.npz")["id"])


@pytest.fixture(scope="module")
def job(client: Client, dataset: str) -> Json:
    """A training job, which exports nothing."""
    spec: Json = {"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [5]}}
    return client.finish({**spec, "training": {"epochs": 1}, "licence": "CC-BY-4.0"})


@pytest.fixture(scope="module")
def upload(client: Client, folder: Path) -> Json:
    save_file({"fc.weight": WEIGHT, "fc.bias": BIAS}, folder / "own.safetensors")
    architecture = {"family": "mlp", "input_shape": [4], "hidden": [], "outputs": {"y": 3}}
    described = {"name": "own", "format": "safetensors", "architecture": architecture, "rename": {"fc": "layers.0"}}
    return client.upload("models", {**described, "outputs": {"y": {"kind": "class"}}}, folder / "own.safetensors")


def exported(client: Client, model: str, target: Path) -> Path:
    job = client.http.post(f"/v1/models/{model}/exports", json=ONNX).json()
    job = client.get(f"/v1/jobs/{job['id']}?wait=60")
    assert job["state"] == "succeeded", job
    return client.download(f"/v1/models/{model}/weights?format=onnx", target)


def outputs(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits, _ = session.run(["y.logits", "y.probabilities"], {session.get_inputs()[0].name: x})
    return np.asarray(logits)


def test_a_student_has_onnx_after_the_fact(client: Client, job: Json, tmp_path: Path) -> None:
    student = exported(client, job["student"], tmp_path / "student.onnx")
    assert outputs(student, ROWS).shape == (90, 2)
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
    assert roles == ["weights", "reference_rows", "onnx"]


def test_an_upload_has_onnx_after_the_fact(client: Client, upload: Json, tmp_path: Path) -> None:
    own = client.download(f"/v1/models/{upload['id']}/weights?format=onnx&wait=60", tmp_path / "own.onnx")
    takes = client.get(f"/v1/models/{upload['id']}")["raw_inputs"]["x"]
    assert (takes["input"], takes["dtype"], takes["shape"]) == ("x", "float32", [4])
    expected = torch.from_numpy(ROWS) @ WEIGHT.T + BIAS
    np.testing.assert_allclose(outputs(own, ROWS), expected.numpy(), atol=1e-4)
    again = client.http.post(f"/v1/models/{upload['id']}/exports", json=ONNX)
    assert (again.status_code, again.json()["state"]) == (202, "succeeded")


def unpacked(content: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
        assert archive.namelist() == [
            "README.md", "config.json", "predict.py", "reference.npz", "student.onnx", "student.safetensors",
        ]  # fmt: skip
    return folder


def test_the_bundle_of_a_student_answers_as_the_service(
    client: Client, job: Json, folder: Path, tmp_path: Path
) -> None:
    path = f"/v1/models/{job['student']}/bundle?wait=60"
    made = client.http.get(path)
    assert made.status_code == 200, made.text
    assert made.headers["etag"] == f'"{hashlib.sha256(made.content).hexdigest()}"'
    assert client.http.get(path, headers={"If-None-Match": made.headers["etag"]}).status_code == 304
    part = client.http.get(path, headers={"Range": "bytes=1000-4999"})
    assert (part.status_code, part.content) == (206, made.content[1000:5000])

    bundle = unpacked(made.content, tmp_path / "bundle")
    weights = client.http.get(f"/v1/models/{job['student']}/weights").content
    assert (bundle / "student.safetensors").read_bytes() == weights
    lines = answered(bundle, folder / "rows.npz")
    predictions = client.download(f"/v1/jobs/{job['id']}/predictions?split=test", tmp_path / "predictions.npz")
    with np.load(predictions) as file:
        rows, logits = file["test/row"], file["test/y/student"]
    np.testing.assert_allclose([lines[row]["y.logits"] for row in rows], logits, atol=1e-4)
    assert [lines[row]["y.class"] for row in rows] == [str(i) for i in logits.argmax(1)]
    assert run_bare(bundle, "--check").returncode == 0

    card, report = (bundle / "README.md").read_text(), client.report(job)
    assert "Licence: CC-BY-4.0." in card
    assert f"| accuracy | {report['student']['tasks']['y']['accuracy']:.4g} | 0." in card
    assert f"trained by `{job['id']}`" in card
    assert "rows of the dataset, as they stand in its file" in card
    config = json.loads((bundle / "config.json").read_text())
    assert config["files"]["student.safetensors"]["sha256"] == report["digests"]["student"]
    assert config["licence"] == client.get(f"/v1/models/{job['student']}")["licence"] == "CC-BY-4.0"


def test_the_bundle_of_an_upload_has_invented_rows_and_says_what_is_not_known(
    client: Client, upload: Json, tmp_path: Path
) -> None:
    made = client.http.get(f"/v1/models/{upload['id']}/bundle?wait=60")
    assert made.status_code == 200, made.text
    bundle = unpacked(made.content, tmp_path / "bundle")
    assert run_bare(bundle, "--check").stdout == "the service's answers for 16 rows\n"
    np.savez(tmp_path / "rows.npz", x=ROWS[:2])
    expected = torch.from_numpy(ROWS[:2]) @ WEIGHT.T + BIAS
    found = [line["y.logits"] for line in answered(bundle, tmp_path / "rows.npz")]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    card = (bundle / "README.md").read_text()
    assert "Licence: not stated." in card
    assert "`reference.npz` has invented rows" in card
    assert "Not measured: the model was uploaded" in card


def quantized(client: Client, model: str, body: Json) -> Json:
    """The ended job of a quantized export."""
    made = client.http.post(f"/v1/models/{model}/exports", json=body)
    assert made.status_code == 202, made.text
    return client.get(f"/v1/jobs/{made.json()['id']}?wait=60")


def test_a_student_is_quantized_after_the_fact_and_the_report_is_of_the_served_file(
    client: Client, dataset: str, folder: Path, tmp_path: Path
) -> None:
    wide: Json = {"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [64, 32]}}
    trained = client.finish({**wide, "training": {"epochs": 20}})
    done = quantized(client, trained["student"], {"format": "int8", "dataset": dataset})
    assert done["state"] == "succeeded", done["error"]
    report = client.report(done)
    party = report["party"]
    assert (report["kind"], report["dataset"], party["name"]) == ("export", dataset, "model_int8")
    file = client.download(f"/v1/models/{trained['student']}/weights?format=int8", tmp_path / "student.int8.onnx")
    assert len(file.read_bytes()) == party["bytes"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == party["digest"]
    path = client.download(f"/v1/jobs/{trained['id']}/predictions?split=test", tmp_path / "predictions.npz")
    with np.load(path) as predictions:
        rows, labels, whole = (predictions[f"test/{name}"] for name in ("row", "y/label", "y/student"))
    found = np.concatenate([outputs(file, ROWS[row : row + 1]) for row in rows])
    assert party["tasks"]["y"]["accuracy"] == pytest.approx((found.argmax(1) == labels).mean())
    assert party["fidelity"]["y"]["agreement"] == pytest.approx((found.argmax(1) == whole.argmax(1)).mean())
    assert party["verdict"]["y"]["student"] == pytest.approx((whole.argmax(1) == labels).mean())
    assert {file["role"] for file in client.get(f"/v1/models/{trained['student']}")["files"]} >= {"weights", "int8"}


def test_an_export_that_saves_nothing_says_so_and_the_model_stays(client: Client, upload: Json) -> None:
    refused = client.http.get(f"/v1/models/{upload['id']}/weights?format=fp16&wait=60")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_exported")
    assert "too small to gain" in refused.json()["detail"]
    assert client.get(f"/v1/models/{upload['id']}")["state"] == "ready"


@pytest.fixture(scope="module")
def wide(client: Client, folder: Path) -> Json:
    """An upload that is worth quantizing."""
    save_file(WIDE, folder / "wide.safetensors")
    architecture = {"family": "mlp", "input_shape": [4], "hidden": [200], "outputs": {"y": 2}}
    manifest = {"name": "wide", "format": "safetensors", "architecture": architecture}
    return client.upload("models", {**manifest, "outputs": {"y": {"kind": "class"}}}, folder / "wide.safetensors")


def logits_of_wide() -> np.ndarray[Any, Any]:
    hidden = torch.relu(torch.from_numpy(ROWS) @ WIDE["layers.0.weight"].T + WIDE["layers.0.bias"])
    return np.asarray(hidden @ WIDE["layers.1.weight"].T + WIDE["layers.1.bias"])


def test_an_upload_is_halved_without_a_dataset(client: Client, wide: Json, tmp_path: Path) -> None:
    half = client.download(f"/v1/models/{wide['id']}/weights?format=fp16&wait=60", tmp_path / "wide.fp16.onnx")
    expected = logits_of_wide()
    assert 0.0 < float(np.abs(outputs(half, ROWS) - expected).max()) < 0.01 * float(expected.std())


def test_rows_that_an_upload_does_not_read_are_refused_and_others_are_exported(
    client: Client, wide: Json, dataset: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "narrow.npz", x=ROWS[:, :3], y=np.arange(90) % 2)
    manifest: Json = {"name": "narrow", "format": "npz", "inputs": {"x": {"kind": "array"}}}
    manifest["targets"] = {"y": {"kind": "class", "classes": 2}}
    narrow = client.upload("datasets", manifest, tmp_path / "narrow.npz")
    refused = client.http.post(f"/v1/models/{wide['id']}/exports", json={"format": "int8", "dataset": narrow["id"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "shape_mismatch")
    done = quantized(client, wide["id"], {"format": "int8", "dataset": dataset})
    assert done["state"] == "succeeded", done["error"]
    party = client.report(done)["party"]
    assert party["fidelity"]["y"]["agreement"] > 0.9
    file = client.download(f"/v1/models/{wide['id']}/weights?format=int8", tmp_path / "wide.int8.onnx")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == party["digest"]
    found = np.concatenate([outputs(file, ROWS[i : i + 1]) for i in range(len(ROWS))])
    assert (found.argmax(1) == logits_of_wide().argmax(1)).mean() > 0.9
