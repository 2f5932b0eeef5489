"""The whole service with the real engine: every part is killed mid-job, and the job still ends once, with the very
student that an undisturbed job gives.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.house import FaultyService, Part

SECONDS = 4.0
"""About how long an undisturbed job trains here: time for four kills."""
PARTS: tuple[Part, ...] = ("child", "fork server", "supervisor", "api")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FaultyService]:
    with FaultyService(tmp_path / "data") as running:
        yield running


def _dataset(service: FaultyService, folder: Path) -> str:
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 16)).astype(np.float32)
    file = folder / "rows.npz"
    np.savez(file, x=x, y=(x[:, 0] > 0).astype(np.int64))
    manifest = {
        "name": "rows",
        "format": "npz",
        "inputs": {"x": {"kind": "array"}},
        "targets": {"y": {"kind": "class", "classes": 2}},
    }
    with file.open("rb") as body:
        made = service.http.post(
            "/v1/datasets", files={"manifest": (None, json.dumps(manifest).encode()), "file": body}
        )
    assert made.status_code == 201, made.text
    dataset = service.get(f"/v1/datasets/{made.json()['id']}?wait=60")
    assert dataset["state"] == "ready", dataset["rejection"]
    return str(dataset["id"])


def _distillation(dataset: str, teacher: str, steps: int, seed: int) -> dict[str, Any]:
    return {
        "kind": "distill",
        "dataset": dataset,
        "teachers": [{"model": teacher}],
        "student": {"family": "mlp", "hidden": [32]},
        "training": {"steps": steps, "threads": 1, "seed": seed},
    }


def test_every_part_is_killed_and_the_job_ends_once_with_the_same_student(
    service: FaultyService, tmp_path: Path
) -> None:
    dataset = _dataset(service, tmp_path)
    teaching = {"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [64]}}
    teacher = service.succeed(service.submit({**teaching, "training": {"steps": 300}}))["student"]
    probe = service.succeed(service.submit(_distillation(dataset, teacher, 500, seed=1)))
    taken = service.get(f"/v1/jobs/{probe['id']}/report")["seconds"]["training"]
    spec = _distillation(dataset, teacher, int(500 * SECONDS / taken), seed=2)

    job_id = service.submit(spec)
    for part in PARTS:
        service.await_checkpoint(job_id)
        service.kill(part)
    job = service.succeed(job_id)

    states = [event["state"] for event in service.events(job_id, "state")]
    assert states[-1] == "succeeded"
    assert states.count("succeeded") == 1
    assert states.count("starting") == job["attempt"] == len(PARTS) + 1
    report = service.get(f"/v1/jobs/{job_id}/report")
    assert report["bit_exact"]
    undisturbed = service.succeed(service.submit(spec))
    assert undisturbed["attempt"] == 1
    expected = service.get(f"/v1/jobs/{undisturbed['id']}/report")
    assert report["digests"]["student"] == expected["digests"]["student"]
