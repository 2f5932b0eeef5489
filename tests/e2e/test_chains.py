"""Chains of jobs submitted all at once, terms on layers, searches and peers, through the HTTP API."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import Client

TRAINING: dict[str, Any] = {"epochs": 4, "threads": 1, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def blobs(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Points around three centres, as a ready dataset."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, size=600)
    x = (random.normal(size=(3, 8))[labels] * 2.0 + random.normal(size=(600, 8))).astype(np.float32)
    file = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(file, x=x, label=labels)
    manifest = {
        "name": "blobs",
        "format": "npz",
        "inputs": {"x": {"kind": "array"}},
        "targets": {"label": {"kind": "class", "classes": 3}},
    }
    dataset = client.upload("datasets", manifest, file)
    assert dataset["state"] == "ready", dataset["rejection"]
    found: str = dataset["id"]
    return found


def distill(dataset: str, teacher: str, hidden: list[int], **changes: Any) -> dict[str, Any]:
    return {
        "kind": "distill",
        "repeats": 1,
        "dataset": dataset,
        "teachers": [{"job": teacher}],
        "student": {"family": "mlp", "hidden": hidden},
        "training": TRAINING,
        **changes,
    }


def test_a_teacher_its_assistant_and_the_student_are_submitted_at_once(client: Client, blobs: str) -> None:
    """Teacher assistants and born-again generations are jobs that name jobs."""
    model = {"family": "mlp", "hidden": [64, 32]}
    teacher = client.submit({"kind": "train", "dataset": blobs, "model": model, "training": TRAINING})
    assistant = client.submit(distill(blobs, teacher["id"], [32]))
    again = client.submit(distill(blobs, assistant["id"], [32], student={"family": "mlp", "hidden": [32]}))
    job = client.finish(distill(blobs, again["id"], [8]))
    report = client.report(job)
    assert report["teachers"][0]["parameters"] == 8 * 32 + 32 + 32 * 3 + 3
    assert client.get(f"/v1/jobs/{assistant['id']}")["state"] == "succeeded"


def test_layers_are_named_as_the_service_lists_them(client: Client, blobs: str) -> None:
    model = {"family": "mlp", "hidden": [16, 12]}
    teacher = client.finish({"kind": "train", "dataset": blobs, "model": model, "training": TRAINING})
    layers = client.get(f"/v1/models/{teacher['student']}/layers")["data"]
    assert {"layers.0", "layers.1", "penultimate"} <= {layer["name"] for layer in layers}
    term = {"method": "fitnets", "teacher_layer": "layers.1", "student_layer": "layers.0"}
    spec = distill(blobs, teacher["id"], [8], distillation={"soft_targets": {"method": "dkd"}, "features": term})
    job = client.finish(spec)
    series = client.get(f"/v1/jobs/{job['id']}/metrics")["series"]
    assert {"train/label/dkd", "train/label/fitnets"} <= set(series)
    term["teacher_layer"] = "layers.9"
    refused = client.http.post("/v1/jobs", json=spec)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/distillation/features/0/teacher_layer"


def test_a_search_reports_its_curve_and_repeats_their_seeds(client: Client, blobs: str) -> None:
    model = {"family": "mlp", "hidden": [16]}
    teacher = client.finish({"kind": "train", "dataset": blobs, "model": model, "training": TRAINING})
    term = {"method": "kd", "temperature": {"search": [1.0, 4.0]}}
    job = client.finish(distill(blobs, teacher["id"], [4], distillation={"soft_targets": term}, repeats=3))
    report = client.report(job)
    assert len(report["search"]["trials"]) == 2
    assert report["verdict"]["label"]["repeats"] == 3
    assert len(report["verdict"]["label"]["students"]) == 3
    assert {row["index"] for row in report["per_class"]["label"]} == {0, 1, 2}
    assert set(report["reliability"]["label"]) == {"teacher", "student", "control"}
    assert report["robustness"]["label"]


def test_every_student_of_mutual_learning_is_a_model(client: Client, blobs: str, tmp_path: Path) -> None:
    spec = {
        "kind": "distill",
        "repeats": 1,
        "dataset": blobs,
        "student": {"family": "mlp", "hidden": [8]},
        "mutual": {"peers": [{"family": "mlp", "hidden": [6]}]},
        "training": TRAINING,
    }
    job = client.finish(spec)
    assert [output["role"] for output in job["outputs"]] == ["student", "peer-1"]
    peer = client.get(f"/v1/models/{job['outputs'][1]['model']}")
    assert peer["state"] == "ready"
    assert peer["parameters"] == 8 * 6 + 6 + 6 * 3 + 3
    assert client.download(f"/v1/models/{peer['id']}/weights", tmp_path / "peer.safetensors").stat().st_size > 0
