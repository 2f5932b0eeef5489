"""Two uploaded datasets in one job, through the HTTP API and a real worker."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.e2e.conftest import Client

INPUT: dict[str, Any] = {"x": {"kind": "array", "shape": [1, 8, 8], "scale": 0.0625}}
TARGETS: dict[str, Any] = {"digit": {"kind": "class", "classes": 10}, "ink": {"kind": "value"}}
TRAINING: dict[str, Any] = {"epochs": 30, "batch_size": 64, "learning_rate": 0.005, "threads": 1}


@pytest.fixture(scope="module")
def halves(client: Client, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """scikit-learn's digits: 1200 of them with `digit`, the other 597 with `ink`."""
    found, folder = load_digits(), tmp_path_factory.mktemp("halves")
    columns = {"digit": found.target, "ink": found.images.sum((1, 2))}
    ids = []
    for name, rows in (("digit", slice(0, 1200)), ("ink", slice(1200, None))):
        file = folder / f"{name}.npz"
        arrays = {"x": found.images[rows].astype(np.float32), name: columns[name][rows]}
        np.savez(file, **arrays)
        manifest = {"name": name, "format": "npz", "inputs": INPUT, "targets": {name: TARGETS[name]}}
        dataset = client.upload("datasets", manifest, file)
        assert dataset["state"] == "ready", dataset["rejection"]
        ids.append(dataset["id"])
    return ids[0], ids[1]


def test_a_student_learns_two_tasks_from_two_datasets(client: Client, halves: tuple[str, str], tmp_path: Path) -> None:
    first, second = halves
    spec = {
        "kind": "multitask",
        "datasets": [{"dataset": first, "weight": 2.0}, {"dataset": second, "weight": 1.0}],
        "tasks": [{"name": "digit"}, {"name": "ink"}],
        "student": {"family": "mlp", "hidden": [32]},
        "training": TRAINING,
        "baselines": False,
    }
    job = client.finish(spec)
    report = client.report(job)
    assert [(use["dataset"], use["batch"], use["rows"]["train"]) for use in report["datasets"]] == [
        (first, 43, 840),
        (second, 21, 418),
    ]
    tasks = report["student"]["tasks"]
    assert tasks["digit"]["accuracy"] > 0.85
    assert tasks["ink"]["r2"] > 0.7
    predictions = client.download(f"/v1/jobs/{job['id']}/predictions?split=test", tmp_path / "p.npz")
    with np.load(predictions) as found:
        assert np.bincount(found["test/dataset"]).tolist() == [180, 89]
        assert found["test/row"][found["test/dataset"] == 1].max() < 597


def test_a_teacher_of_one_dataset_fills_the_labels_of_another(client: Client, halves: tuple[str, str]) -> None:
    """Distilled on labelled and unlabelled rows; what the teacher says about the first is found in the store."""
    first, second = halves
    model = {"family": "mlp", "hidden": [64]}
    teacher = client.finish({"kind": "train", "dataset": first, "model": model, "training": TRAINING})
    spec: dict[str, Any] = {
        "kind": "distill",
        "target": "digit",
        "teachers": [{"job": teacher["id"]}],
        "student": {"family": "mlp", "hidden": [16]},
        "training": TRAINING | {"epochs": 5},
        "control": False,
    }
    alone = client.report(client.finish(spec | {"dataset": first}))
    assert alone["targets"][0]["store"] == "miss"
    both = client.report(client.finish(spec | {"datasets": [{"dataset": first}, {"dataset": second}]}))
    assert (both["targets"][0]["rows"], both["targets"][0]["saved"]) == (1797, 5)
    assert [use["learned"] for use in both["datasets"]] == [840, 418]
