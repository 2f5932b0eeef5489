"""Photos of mixed sizes, a teacher and a student of timm: by HTTP, and back into timm."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from app.contracts.problems import UserError
from tests.e2e.conftest import Client
from tests.engine.data.formats.images.archives import encoded, zipped
from tests.engine.models.library.folders import network, packed, saved
from workers.engine.models.families.library.packages import package

SIDE = 32
CLASSES = ["bright", "dark", "red"]
TEACHER, STUDENT = "test_resnet", "test_efficientnet"
MANIFEST: dict[str, Any] = {
    "name": "photos",
    "format": "images",
    "inputs": {"image": {"kind": "image", "size": [SIDE, SIDE]}},
    "targets": {"label": {"kind": "class", "classes": CLASSES}},
}


def picture(label: int, random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An image of one of the classes; sizes and colours differ."""
    height, width = random.integers(36, 70, 2)
    base = random.integers(0, 60, (height, width, 3)) + (140 if label == 0 else 20)
    if label == 2:
        base[..., 0] += 120
    return base.astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    files = {f"{CLASSES[i % 3]}/{i:03}.jpg": encoded(picture(i % 3, random), "JPEG", quality=90) for i in range(150)}
    return zipped(tmp_path_factory.mktemp("photos") / "photos.zip", files)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of timm that was trained elsewhere, on pixels between 0 and 1."""
    random = np.random.default_rng(1)
    torch.manual_seed(0)
    made: nn.Module = package("timm").create_model(TEACHER, num_classes=3)
    optimizer = torch.optim.AdamW(made.parameters(), 2e-3)
    for _ in range(30):
        labels = random.integers(0, 3, 24)
        rows = torch.stack([torch.from_numpy(picture(label, random)[:SIDE, :SIDE]) for label in labels])
        loss = nn.functional.cross_entropy(made(rows.movedim(-1, 1) / 255), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file({name: value.contiguous() for name, value in made.state_dict().items()}, path)
    return path


def test_a_network_of_timm_teaches_another_which_timm_loads(
    client: Client, photos: Path, teacher: Path, tmp_path: Path
) -> None:
    dataset = client.upload("datasets", MANIFEST, photos)
    assert dataset["state"] == "ready", dataset["rejection"]
    architecture = {"family": "timm", "name": TEACHER, "input_shape": [3, SIDE, SIDE], "outputs": {"label": 3}}
    model = client.upload(
        "models",
        {
            "name": "teacher",
            "format": "safetensors",
            "architecture": architecture,
            "outputs": {"label": {"kind": "class", "classes": CLASSES}},
            "inputs": {"image": {"scale": 1 / 255}},
        },
        teacher,
    )
    assert model["state"] == "ready", model["rejection"]
    spec = {
        "kind": "distill",
        "dataset": dataset["id"],
        "teachers": [{"model": model["id"]}],
        "student": {"family": "timm", "name": STUDENT},
        "training": {"steps": 40, "batch_size": 32, "learning_rate": 0.005},
        "control": False,
        "repeats": 1,
    }
    dry = client.http.post("/v1/jobs?dry_run=true", json=spec).json()
    assert dry["complete"], dry
    assert dry["parameters"] < model["parameters"]
    assert dry["flops"] > 1e5
    assert dry["spec"]["student"]["measured"]["processing"]["interpolation"] == "bicubic"
    job = client.finish(spec)
    assert client.report(job)["student"]["parameters"] == dry["parameters"]
    reloaded = loaded_by_timm(client, job["student"], tmp_path)
    pixels = np.stack([picture(i % 3, np.random.default_rng(9 + i))[:SIDE, :SIDE] for i in range(6)])
    config = package("timm").data.resolve_model_data_config(reloaded)
    mean, std = (torch.tensor(config[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = reloaded((torch.from_numpy(pixels).movedim(-1, 1) / 255 - mean) / std).softmax(1)
    rows = [{"image": each.tolist()} for each in pixels]
    answer = client.http.post(f"/v1/models/{job['student']}/predict", json={"rows": rows})
    assert answer.status_code == 200, answer.text
    found = answer.json()["outputs"]["label"]["probabilities"]
    np.testing.assert_allclose(np.array(found), expected.numpy(), atol=1e-4)


def test_a_folder_of_transformers_teaches_a_student_that_transformers_loads(
    client: Client, photos: Path, tmp_path: Path
) -> None:
    """Its student is another vision transformer; the teacher, which has not learned, stands for any."""
    dataset = client.upload("datasets", MANIFEST, photos)["id"]
    folder = packed(saved(network("vit", 64, tuple(CLASSES)), tmp_path / "model"), tmp_path / "model.zip")
    manifest = {"name": "vit", "format": "huggingface", "outputs": {"label": {"kind": "class"}}}
    model = client.upload("models", manifest, folder)
    assert model["state"] == "ready", model["rejection"]
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    spec = {
        "kind": "distill",
        "dataset": dataset,
        "teachers": [{"model": model["id"]}],
        "student": {"family": "huggingface", "name": "vit", "config": {**config, "patch_size": 8}},
        "distillation": {"allow_chance_teacher": True},
        "training": {"steps": 10, "batch_size": 32, "learning_rate": 0.005},
        "control": False,
        "repeats": 1,
    }
    student = client.finish(spec)["student"]
    bundle = unpacked(client, student, tmp_path)
    transformers = package("transformers")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(bundle / "huggingface").eval()
    assert [theirs.config.id2label[i] for i in range(3)] == CLASSES
    processor = transformers.AutoImageProcessor.from_pretrained(bundle / "huggingface")
    pixels = np.stack([picture(i % 3, np.random.default_rng(9 + i))[:SIDE, :SIDE] for i in range(4)])
    with torch.no_grad():
        expected = theirs(**processor(list(pixels), return_tensors="pt")).logits.softmax(1)
    answer = client.http.post(f"/v1/models/{student}/predict", json={"rows": [{"image": p.tolist()} for p in pixels]})
    assert answer.status_code == 200, answer.text
    found = answer.json()["outputs"]["label"]["probabilities"]
    np.testing.assert_allclose(np.array(found), expected.numpy(), atol=1e-4)


def unpacked(client: Client, model: str, folder: Path) -> Path:
    client.download(f"/v1/models/{model}/bundle?wait=60", folder / "bundle.zip")
    with zipfile.ZipFile(folder / "bundle.zip") as archive:
        archive.extractall(folder / "bundle")
    return folder / "bundle"


def loaded_by_timm(client: Client, model: str, folder: Path) -> nn.Module:
    unpacked(client, model, folder)
    made: nn.Module = package("timm").create_model(f"local-dir:{folder / 'bundle' / 'timm'}", pretrained=True)
    assert 'timm.create_model("local-dir:timm"' in (folder / "bundle" / "README.md").read_text()
    config = json.loads((folder / "bundle" / "timm" / "config.json").read_text())
    assert config["label_names"] == CLASSES
    return made.eval()


@pytest.mark.parametrize(
    ("student", "code", "pointer"),
    [
        ({"family": "timm", "name": "no_such_network"}, "unknown_network", "/student/name"),
        ({"family": "timm", "name": "local-dir:/etc"}, "bad_format", "/student/name"),
        ({"family": "torchvision", "name": "maxvit_t"}, "network_misfit", "/student/name"),
        ({"family": "timm", "name": "test_vit", "input_shape": [3, 16, 16]}, "shape_mismatch", "/student/input_shape"),
        ({"family": "timm", "name": "test_vit", "init": {}}, "init_undefined", "/student/init"),
        ({"family": "timm", "name": "test_vit", "sharing": "mmoe"}, "unknown_value", "/student/sharing"),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_a_job_is_made(
    student: dict[str, Any], code: str, pointer: str, client: Client, photos: Path
) -> None:
    dataset = client.upload("datasets", MANIFEST, photos)["id"]
    spec = {
        "kind": "distill",
        "dataset": dataset,
        "student": student,
        "mutual": {"peers": [{"family": "convnet", "channels": [4]}]},
    }
    answer = client.http.post("/v1/jobs", json=spec)
    errors = [(each["code"], each["pointer"]) for each in answer.json()["errors"]]
    assert (code, pointer) in [(found, place) for found, place in errors], errors


def test_a_library_error_is_a_user_error() -> None:
    with pytest.raises(UserError, match="no package"):
        package("stillhouse_of_nowhere")
