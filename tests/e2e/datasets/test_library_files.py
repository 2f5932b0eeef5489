"""What a student or model of timm is used as: smaller files, answers for image files, the programs of its bundle."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.e2e.conftest import Client
from tests.e2e.datasets.test_library_networks import CLASSES, MANIFEST, SIDE, picture
from tests.engine.data.formats.images.archives import encoded, tarred, zipped
from tests.exhaustive import sample
from workers.engine.models.families.library.packages import package

Json = dict[str, Any]
NETWORK = "test_efficientnet"
SPLITS = ("train", "train", "train", "validation", "test")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """JPEGs by their names, equally many of each class in each split."""
    random = np.random.default_rng(0)
    names = [f"{SPLITS[i // 3 % 5]}/{CLASSES[i % 3]}/{i:03}.jpg" for i in range(150)]
    return {name: encoded(picture(i % 3, random), "JPEG", quality=90) for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def dataset(client: Client, files: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = zipped(tmp_path_factory.mktemp("photos") / "photos.zip", files)
    found = client.upload("datasets", {**MANIFEST, "splits": {"column": "split"}}, path)
    assert found["state"] == "ready", found["rejection"]
    return str(found["id"])


@pytest.fixture(scope="module")
def student(client: Client, dataset: str) -> str:
    """A student of timm, by a job that exports nothing else."""
    spec = {"kind": "train", "dataset": dataset, "model": {"family": "timm", "name": NETWORK}}
    training = {"steps": 60, "batch_size": 32, "learning_rate": 0.005}
    return str(client.finish({**spec, "training": training})["student"])


SMALLER = (("int8", "static", 0.4), ("fp16", "half", 0.6))


@pytest.mark.parametrize(("wanted", "method", "ratio"), sample(SMALLER, keep=SMALLER[:1]))
def test_a_ready_student_gets_smaller_files(
    wanted: str, method: str, ratio: float, client: Client, student: str, dataset: str, tmp_path: Path
) -> None:
    answer = client.http.post(f"/v1/models/{student}/exports", json={"format": wanted, "dataset": dataset})
    assert answer.status_code == 202, answer.text
    job = client.get(f"/v1/jobs/{answer.json()['id']}?wait=60")
    assert job["state"] == "succeeded", job["error"]
    party = client.report(job)["party"]
    assert (party["method"], party["ratio"] < ratio) == (method, True)
    assert party["fidelity"]["label"]["agreement"] >= 0.9
    path = client.download(f"/v1/models/{student}/weights?format={wanted}", tmp_path / "student.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = np.stack([picture(i % 3, np.random.default_rng(i))[:SIDE, :SIDE] for i in range(6)])
    (probabilities,) = session.run(["label.probabilities"], {"image": pixels})
    assert probabilities.shape == (6, 3)


def test_image_files_have_the_answers_of_the_bundles_programs(
    client: Client, student: str, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    test = {name: content for name, content in sorted(files.items()) if name.startswith("test/")}
    # The bundle first: the graph that is made for it is the one that answers, and no other is traced.
    client.download(f"/v1/models/{student}/bundle?wait=60", tmp_path / "bundle.zip")
    answers = client.http.post(
        f"/v1/models/{student}/predict",
        content=tarred(tmp_path / "test.tar", test).read_bytes(),
        headers={"Content-Type": "application/x-tar"},
    )
    assert answers.status_code == 200, answers.text
    found = answers.json()["outputs"]["label"]
    first = client.http.post(
        f"/v1/models/{student}/predict", content=next(iter(test.values())), headers={"Content-Type": "image/jpeg"}
    )
    assert first.json()["outputs"]["label"]["class"] == found["class"][:1]
    for archive, folder in ((tmp_path / "bundle.zip", "bundle"), (zipped(tmp_path / "test.zip", test), "photos")):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(tmp_path / folder)
    programs = tmp_path / "bundle"
    run(programs / "predict.py", "--check")
    run(programs / "images.py", str(tmp_path / "rows.npz"), str(tmp_path / "photos"))
    lines = run(programs / "predict.py", str(tmp_path / "rows.npz")).splitlines()
    assert [json.loads(line)["label.class"] for line in lines] == found["class"]
    probabilities = [list(json.loads(line)["label.probabilities"]) for line in lines]
    np.testing.assert_allclose(probabilities, found["probabilities"], atol=1e-4)


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-I", str(program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("wrong", [0.0, 0.5], ids=["its own", "others"])
def test_reference_rows_of_a_checkpoint_are_reproduced(wrong: float, client: Client, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network: nn.Module = package("timm").create_model(NETWORK, num_classes=3).eval()
    pixels = torch.randint(0, 256, (4, 3, SIDE, SIDE)).float()
    with torch.no_grad():
        outputs = network((pixels / 255 - 0.4) / 0.2) + wrong * torch.tensor([1.0, 0.0, 0.0])
    save_file({name: each.contiguous() for name, each in network.state_dict().items()}, tmp_path / "own.safetensors")
    architecture = {"family": "timm", "name": NETWORK, "input_shape": [3, SIDE, SIDE], "outputs": {"label": 3}}
    manifest: Json = {
        "name": "own",
        "format": "safetensors",
        "architecture": architecture,
        "inputs": {"image": {"scale": 1 / 255, "mean": 0.4, "std": 0.2}},
        "outputs": {"label": {"kind": "class", "classes": CLASSES}},
        "reference": {"inputs": {"image": pixels.tolist()}, "outputs": {"label": outputs.tolist()}},
    }
    model = client.upload("models", manifest, tmp_path / "own.safetensors")
    if wrong:
        assert model["rejection"]["code"] == "reference_mismatch"
        return
    assert model["state"] == "ready", model["rejection"]
    graph = client.download(f"/v1/models/{model['id']}/weights?format=onnx&wait=60", tmp_path / "own.onnx")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["label.logits"], {session.get_inputs()[0].name: pixels.numpy()})
    np.testing.assert_allclose(logits, outputs.numpy(), atol=1e-4)
