"""Students of every scheme of sharing through the HTTP API: dry run, job, cut, and the cut as a model that teaches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from tests.e2e.conftest import Client
from tests.engine.harness import MANIFEST, blobs
from tests.engine.models.sharing.networks import STUDENTS, TASKS
from tests.exhaustive import sample

TRAINING: dict[str, Any] = {"epochs": 4, "threads": 1, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def dataset(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("blobs") / "blobs.npz"
    np.savez(file, **blobs(features=16))  # type: ignore[arg-type]
    found = client.upload("datasets", MANIFEST, file)
    assert found["state"] == "ready", found["rejection"]
    return str(found["id"])


def manifest_of(file: Path) -> dict[str, Any]:
    """A manifest from what the file says of itself."""
    with safe_open(file, "np") as found:
        document = json.loads(found.metadata()["stillhouse"])
    fields = {name: document[name] for name in ("architecture", "inputs", "outputs")}
    return {"name": "a cut", "format": "safetensors", **fields}


@pytest.mark.parametrize("scheme", sample(["hard", *STUDENTS], ["hard", "cgc"]))
def test_one_tasks_cut_is_a_model_of_its_own_that_teaches(
    client: Client, dataset: str, scheme: str, tmp_path: Path
) -> None:
    student = STUDENTS.get(scheme, {"family": "mlp", "hidden": [8]})
    common = {"dataset": dataset, "student": student, "training": TRAINING}
    spec = {"kind": "multitask", "tasks": TASKS, "baselines": False, **common}
    dry = client.http.post("/v1/jobs?dry_run=true", json=spec).json()
    job = client.finish(spec)
    reported = client.report(job)["student"]
    assert (reported["parameters"], reported["flops"]) == (dry["parameters"], dry["flops"])
    listed = {layer["name"] for layer in client.get(f"/v1/models/{job['student']}/layers")["data"]}
    assert "heads.label" in listed
    cut = client.download(f"/v1/jobs/{job['id']}/student/weights?task=label", tmp_path / "cut.safetensors")
    model = client.upload("models", manifest_of(cut), cut)
    assert model["state"] == "ready", model["rejection"]
    assert list(model["outputs"]) == ["label"]
    distilled = client.finish(
        {
            "kind": "distill",
            "repeats": 1,
            "dataset": dataset,
            "target": "label",
            "teachers": [{"model": model["id"]}],
            "student": {"family": "mlp", "hidden": [8]},
            "distillation": {"allow_chance_teacher": True},
            "training": TRAINING,
        }
    )
    [teacher] = client.report(distilled)["teachers"]
    assert teacher["tasks"]["label"]["accuracy"] == reported["tasks"]["label"]["accuracy"]
