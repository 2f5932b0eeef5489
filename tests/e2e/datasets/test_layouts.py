"""Images in three layouts and a checkpoint of several models, through the HTTP API and a real worker."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper

from tests.e2e.conftest import Client
from tests.engine.jobs.inspection.onnx_graphs import graph, value

SIDE = 8
PIXELS = 3 * SIDE * SIDE
TRANSFORM: dict[str, Any] = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
IMAGES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (300, 3, SIDE, SIDE)).astype(np.uint8)
VALUES = IMAGES[:, 0, : SIDE // 2].mean((1, 2)) / 255


@pytest.fixture(scope="module")
def teacher(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A graph over [3, 8, 8] with statistics for each channel that knows the mean of the upper half of the red ones."""
    upper = np.zeros((3, SIDE, SIDE), np.float32)
    upper[0, : SIDE // 2] = TRANSFORM["std"][0] / (SIDE * SIDE // 2)
    weights = {"w": upper.reshape(-1, 1), "b": np.array([TRANSFORM["mean"][0]], np.float32)}
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"])]
    inputs, outputs = [value("x", ["n", 3, SIDE, SIDE])], [value("y", ["n", 1])]
    file = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    file.write_bytes(graph(*nodes, inputs=inputs, outputs=outputs, weights=weights).SerializeToString())
    manifest = {"name": "t", "format": "onnx", "inputs": {"x": TRANSFORM}, "outputs": {"v": {"kind": "value"}}}
    model = client.upload("models", manifest, file)
    assert model["state"] == "ready", model["rejection"]
    return str(model["id"])


def dataset(client: Client, folder: Path, rows: NDArray[np.uint8], **field: Any) -> dict[str, Any]:
    file = folder / "images.npz"
    np.savez(file, x=rows, v=VALUES)
    inputs = {"x": {"kind": "array", "scale": 1 / 255, **field}}
    manifest = {"name": "i", "format": "npz", "inputs": inputs, "targets": {"v": {"kind": "value"}}}
    return client.upload("datasets", manifest, file)


def distillation(teacher: str, rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "distill",
        "repeats": 1,
        "dataset": rows["id"],
        "teachers": [{"model": teacher}],
        "student": {"family": "mlp", "hidden": [8]},
        "training": {"epochs": 1, "threads": 1},
    }


@pytest.mark.parametrize("how", ["flat", "channels_last"])
def test_flat_rows_and_moved_channels_meet_a_teacher_with_statistics_of_channels(
    client: Client, teacher: str, how: str, tmp_path: Path
) -> None:
    last = IMAGES.transpose(0, 2, 3, 1)
    rows = IMAGES.reshape(len(IMAGES), -1) if how == "flat" else last
    found = dataset(client, tmp_path, rows, **({} if how == "flat" else {"layout": how}))
    job = client.finish(distillation(teacher, found))
    assert client.report(job)["teachers"][0]["tasks"]["v"]["r2"] > 0.999


def test_channels_last_are_refused_by_the_dry_run_and_by_a_shape_with_the_way_out(
    client: Client, teacher: str, tmp_path: Path
) -> None:
    last = IMAGES.transpose(0, 2, 3, 1)
    found = dataset(client, tmp_path, last)
    answer = client.http.post("/v1/jobs?dry_run=true", json=distillation(teacher, found))
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert (problem["pointer"], problem["code"]) == ("/teachers/0", "layout_mismatch")
    assert all(part in problem["detail"] for part in ("[3, 8, 8]", "[8, 8, 3]", '"layout": "channels_last"'))
    spec = {"kind": "train", "dataset": found["id"], "model": {"family": "convnet", "channels": [4]}}
    dry = client.http.post("/v1/jobs?dry_run=true", json=spec)
    assert [warning["code"] for warning in dry.json()["warnings"]] == ["channels_last_suspected"]
    reshaped = dataset(client, tmp_path, last, shape=[3, SIDE, SIDE])
    assert reshaped["rejection"]["code"] == "layout_mismatch"


def test_a_model_says_which_state_dict_of_its_checkpoint_was_taken(client: Client, tmp_path: Path) -> None:
    network = torch.nn.Linear(4, 2)
    weights = {f"module.layers.0.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"model": weights, "ema": weights, "best": np.float64(0.9), "epoch": 3}, tmp_path / "last.pt")
    architecture = {"family": "mlp", "input_shape": [4], "hidden": [], "outputs": {"y": 2}}
    manifest = {
        "name": "c",
        "format": "state_dict",
        "architecture": architecture,
        "outputs": {"y": {"kind": "class"}},
    }
    model = client.upload("models", manifest, tmp_path / "last.pt")
    assert model["state"] == "ready", model["rejection"]
    assert [warning["code"] for warning in model["warnings"]] == ["state_dict_chosen", "prefix_dropped"]
