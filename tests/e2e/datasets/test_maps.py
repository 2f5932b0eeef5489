"""A zip of images and masks by HTTP: a student of few masks that answers for each pixel, in and out of the service."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.e2e.conftest import Client
from tests.engine.data.formats.images.archives import encoded, noise
from tests.engine.jobs.datasets.maps.shapes import CLASSES, CONVNET, SIDE, TRAINING, grey, scenes, shapes

Json = dict[str, Any]
MANIFEST: Json = {
    "name": "scenes",
    "format": "images",
    "inputs": {"image": {"kind": "image", "size": [SIDE, SIDE], "channels": 1}},
    "targets": {"map": {"kind": "map", "classes": list(CLASSES), "column": "mask", "ignore": 255}},
    "splits": {"column": "split"},
}
SMALL: Json = {"family": "convnet", "channels": [4, 6]}
TESTED = shapes(seed=7, rows=6)


@pytest.fixture(scope="module")
def distilled(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """A job whose student has two masks, and a teacher that has seen all."""
    folder = tmp_path_factory.mktemp("scenes")
    ids = []
    for name, labelled in (("all.zip", None), ("few.zip", 2)):
        dataset = client.upload("datasets", MANIFEST, scenes(folder / name, shapes(120, labelled)))
        assert dataset["state"] == "ready", dataset["rejection"]
        assert dataset["rows"] == 120
        ids.append(dataset["id"])
    assert client.get(f"/v1/datasets/{ids[1]}")["statistics"]["map"]["train"]["labelled"] == 2
    teacher = client.finish({"kind": "train", "dataset": ids[0], "model": CONVNET, "training": TRAINING})
    spec = {"kind": "distill", "dataset": ids[1], "teachers": [{"model": teacher["student"]}], "student": SMALL}
    return client.finish({**spec, "training": TRAINING, "repeats": 1, "exports": ["onnx"]})


def test_a_student_of_few_masks_gains_by_its_teacher(client: Client, distilled: Json) -> None:
    report = client.report(distilled)
    verdict = report["verdict"]["map"]
    assert verdict["metric"] == "mean_iou"
    assert verdict["verdict"] == "provisional_gain", verdict
    assert verdict["student"] == report["student"]["tasks"]["map"]["mean_iou"] > 0.7
    assert {each["name"] for each in report["per_class"]["map"]} == set(CLASSES)
    assert all(0.0 <= each["parties"]["control"]["iou"] <= 1.0 for each in report["per_class"]["map"])


def test_an_answer_is_the_class_of_each_pixel(client: Client, distilled: Json) -> None:
    rows = grey(TESTED)[..., None]
    answer = predicted(client, distilled, rows, "?compare=teacher")
    found = answer["outputs"]["map"]
    assert found.keys() == {"map", "names"}
    assert found["names"] == list(CLASSES)
    assert (np.array(found["map"]) == TESTED["map"]).mean() > 0.9
    (teacher,) = answer["teachers"]
    assert teacher["agreement"]["mean_difference"] is None
    assert 0.9 < teacher["agreement"]["same"] <= 1.0
    one = client.http.post(
        f"/v1/models/{distilled['student']}/predict",
        content=encoded(rows[0]),
        headers={"Content-Type": "image/png"},
    )
    assert one.json()["outputs"]["map"]["map"] == found["map"][:1]


def test_the_files_of_a_student_answer_as_the_service(client: Client, distilled: Json, tmp_path: Path) -> None:
    rows = grey(TESTED)[..., None]
    known = np.array(predicted(client, distilled, rows)["outputs"]["map"]["map"])
    client.download(f"/v1/models/{distilled['student']}/bundle?wait=60", tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path / "bundle")
    bundle = tmp_path / "bundle"
    (logits,) = onnxruntime.InferenceSession(bundle / "student.onnx").run(["map.logits"], {"image": rows})
    np.testing.assert_array_equal(logits.argmax(1), known)
    for i, row in enumerate(rows):
        (tmp_path / f"{i}.png").write_bytes(encoded(row))
    run(bundle / "images.py", tmp_path / "rows.npz", *(tmp_path / f"{i}.png" for i in range(len(rows))))
    run(bundle / "predict.py", "--check")
    lines = [json.loads(line) for line in run(bundle / "predict.py", tmp_path / "rows.npz").splitlines()]
    np.testing.assert_array_equal([line["map.class"] for line in lines], np.array(CLASSES)[known])
    assert "classes for each pixel" in (bundle / "README.md").read_text()


def test_masks_and_jobs_that_do_not_fit_are_refused_by_name(client: Client, distilled: Json, tmp_path: Path) -> None:
    path = scenes(tmp_path / "bad.zip", shapes(10))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("masks/extra.png", encoded(noise()))
    found = client.upload("datasets", MANIFEST, path)
    assert found["rejection"]["code"] == "metadata_mismatch"
    assert "masks/extra.png" in found["rejection"]["message"]
    spec = {"kind": "train", "dataset": distilled["spec"]["datasets"][0]["dataset"], "training": TRAINING}
    answer = client.http.post("/v1/jobs", json={**spec, "model": {"family": "mlp", "hidden": [4]}})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "map_undefined")
    body = {"format": "int8", "dataset": spec["dataset"]}
    export = client.http.post(f"/v1/models/{distilled['student']}/exports", json=body)
    assert (export.status_code, export.json()["code"]) == (409, "map_undefined"), export.text


def predicted(client: Client, job: Json, rows: Any, query: str = "") -> Json:
    file = io.BytesIO()
    np.savez(file, image=rows)
    found = client.http.post(
        f"/v1/models/{job['student']}/predict{query}",
        content=file.getvalue(),
        headers={"Content-Type": "application/x-npz"},
    )
    assert found.status_code == 200, found.text
    answer: Json = found.json()
    return answer


def run(*words: str | Path) -> str:
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
