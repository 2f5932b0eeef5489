"""A zip of photos by HTTP: a student that answers pixels, and mistakes that are refused by name."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import Client
from tests.engine.data.formats.images.archives import encoded, noise, tarred, zipped
from tests.engine.jobs.datasets.test_images import SIDE, archive, pictures, splits

Json = dict[str, Any]
MANIFEST: Json = {
    "name": "photos",
    "format": "images",
    "inputs": {"image": {"kind": "image", "size": [SIDE, SIDE]}},
    "targets": {"label": {"kind": "class", "classes": ["cat", "dog"]}},
    "splits": {"column": "split"},
}


def test_a_zip_of_photos_becomes_a_student_that_answers_pixels(client: Client, tmp_path: Path) -> None:
    images = pictures(120)
    dataset = client.upload("datasets", MANIFEST, archive(tmp_path, images))
    assert dataset["state"] == "ready", dataset["rejection"]
    assert dataset["inputs"]["image"]["size"] == [SIDE, SIDE]
    training = {"epochs": 10, "batch_size": 32, "learning_rate": 0.05}
    spec = {"kind": "train", "dataset": dataset["id"], "model": {"family": "convnet", "channels": [4]}}
    job = client.finish({**spec, "training": training})
    test = images[np.array(splits(120)) == "test"]
    expected = ["cat"] * 12 + ["dog"] * 12
    file = io.BytesIO()
    np.savez(file, image=test)
    assert classes(client, job["student"], "application/x-npz", file.getvalue()) == expected
    packed = tarred(tmp_path / "a.tar", {f"{i:02}.png": encoded(each) for i, each in enumerate(test)})
    assert classes(client, job["student"], "application/x-tar", packed.read_bytes()) == expected
    assert classes(client, job["student"], "image/png", encoded(test[0])) == ["cat"]
    assert classes(client, job["student"], "image/jpeg", encoded(test[-1], "JPEG", quality=100)) == ["dog"]
    bundled = unpacked(client, job["student"], tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, each in enumerate(test):
        (folder / f"{i:02}.png").write_bytes(encoded(each))
    run(bundled / "images.py", tmp_path / "rows.npz", folder)
    with np.load(tmp_path / "rows.npz") as rows:
        np.testing.assert_array_equal(rows["image"], test)
    lines = run(bundled / "predict.py", tmp_path / "rows.npz").splitlines()
    assert [json.loads(line)["label.class"] for line in lines] == expected
    form = client.get(f"/v1/models/{job['student']}")["raw_inputs"]["image"]["image"]
    assert form == {"size": [SIDE, SIDE], "channels": 3, "fit": "crop"}
    for kind, body, code in (
        ("image/png", b"no image", "unsupported_image"),
        ("image/jpeg", encoded(noise(64, 64), "JPEG")[:-300], "broken_image"),
        ("application/x-tar", b"no tar", "unreadable"),
        ("application/x-tar", many(tmp_path / "many.tar").read_bytes(), "too_many_rows"),
    ):
        answer = predict(client, job["student"], kind, body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code), answer.text


def unpacked(client: Client, model: str, folder: Path) -> Path:
    client.download(f"/v1/models/{model}/bundle?wait=60", folder / "bundle.zip")
    with zipfile.ZipFile(folder / "bundle.zip") as archive:
        archive.extractall(folder / "bundle")
    assert "python images.py" in (folder / "bundle" / "README.md").read_text()
    return folder / "bundle"


def run(program: Path, *arguments: Path) -> str:
    command = [sys.executable, "-I", str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def many(path: Path) -> Path:
    return tarred(path, {f"{i}.png": encoded(noise()) for i in range(257)})


def predict(client: Client, model: str, kind: str, body: bytes) -> httpx.Response:
    return client.http.post(f"/v1/models/{model}/predict", content=body, headers={"Content-Type": kind})


def classes(client: Client, model: str, kind: str, body: bytes) -> list[str]:
    answer = predict(client, model, kind, body)
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["outputs"]["label"]["class"]
    return found


def test_a_student_of_numbers_takes_no_images(client: Client, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=draw.normal(size=(60, 4)).astype(np.float32), y=np.arange(60) % 2)
    manifest = {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array"}}}
    target = {"y": {"kind": "class", "classes": 2}}
    dataset = client.upload("datasets", {**manifest, "targets": target}, tmp_path / "d.npz")["id"]
    spec = {"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [4]}, "training": {"epochs": 1}}
    student = client.finish(spec)["student"]
    answer = predict(client, student, "image/png", encoded(noise()))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "wrong_type")
    assert "`x`" in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("files", "code", "named"),
    [
        ({"cat/0.png": encoded(noise()), "dog/1.png": b"no image"}, "unsupported_image", "dog/1.png"),
        ({"cat/0.png": encoded(noise()), "../1.png": encoded(noise())}, "bad_file_name", "../1.png"),
    ],
)
def test_an_archive_with_a_bad_file_is_rejected_by_name(
    files: dict[str, bytes], code: str, named: str, client: Client, tmp_path: Path
) -> None:
    manifest = {key: value for key, value in MANIFEST.items() if key != "splits"}
    found = client.upload("datasets", manifest, zipped(tmp_path / "a.zip", files))
    assert (found["state"], found["rejection"]["code"]) == ("rejected", code)
    assert named in found["rejection"]["message"]


def test_a_tar_is_taken_for_images_alone(client: Client, tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", {f"cat/{i}.png": encoded(noise(seed=i)) for i in range(8)})
    manifest = {key: value for key, value in MANIFEST.items() if key not in ("splits", "targets")}
    found = client.upload("datasets", manifest, path)
    assert (found["state"], found["rows"]) == ("ready", 8), found["rejection"]
    with path.open("rb") as body:
        answer = client.http.post(
            "/v1/datasets",
            files={"manifest": (None, json.dumps({**manifest, "format": "npz"})), "file": ("a.tar", body)},
        )
    assert answer.json()["errors"][0]["code"] == "refused_format"


def test_a_zip_of_images_is_refused_as_another_format_and_other_files_as_images(client: Client, tmp_path: Path) -> None:
    photos = zipped(tmp_path / "a.zip", {"cat/0.png": encoded(noise())})
    np.savez(tmp_path / "a.npz", image=noise()[None])
    for path, manifest in ((photos, {**MANIFEST, "format": "npz"}), (tmp_path / "a.npz", MANIFEST)):
        with path.open("rb") as body:
            answer = client.http.post(
                "/v1/datasets", files={"manifest": (None, json.dumps(manifest)), "file": (path.name, body)}
            )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "format_mismatch"
