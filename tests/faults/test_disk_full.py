"""The disk runs full under a real service: nothing is lost, uploads answer 507, and it recovers when space returns."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults.house import eventually
from tests.faults.small_disk import MIB, SmallDisk, needs_small_disk

DISK = 160 * MIB
ENDED = ("succeeded", "failed", "cancelled")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SmallDisk]:
    needs_small_disk()
    with SmallDisk(tmp_path / "data", DISK) as running:
        yield running


def _upload(service: SmallDisk, folder: Path) -> Any:
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 16)).astype(np.float32)
    np.savez(folder / "rows.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    manifest = {
        "name": "rows",
        "format": "npz",
        "inputs": {"x": {"kind": "array"}},
        "targets": {"y": {"kind": "class", "classes": 2}},
    }
    with (folder / "rows.npz").open("rb") as body:
        said = json.dumps(manifest).encode()
        return service.http.post("/v1/datasets", files={"manifest": (None, said), "file": body})


def _training(dataset: str, steps: int, *hidden: int) -> dict[str, Any]:
    model = {"family": "mlp", "hidden": list(hidden)}
    return {"kind": "train", "dataset": dataset, "model": model, "training": {"steps": steps, "threads": 1}}


def test_a_full_disk_loses_nothing_and_the_service_recovers(service: SmallDisk, tmp_path: Path) -> None:
    made = _upload(service, tmp_path)
    assert made.status_code == 201, made.text
    dataset = service.get(f"/v1/datasets/{made.json()['id']}?wait=60")
    assert dataset["state"] == "ready"

    too_large = service.http.post("/v1/jobs", json=_training(dataset["id"], 10, 2048, 2048))
    assert too_large.status_code == 507, "its checkpoints do not fit"
    assert too_large.json()["code"] == "no_room"

    job_id = service.submit(_training(dataset["id"], 2000, 512, 512))
    service.await_checkpoint(job_id)
    service.fill(leave=MIB)

    def warned() -> bool:
        service.fill(leave=MIB)
        return any(each["code"] == "checkpoint_failed" for each in service.events(job_id, "warning"))

    eventually(warned)
    refused = _upload(service, tmp_path)
    assert (refused.status_code, refused.json()["code"]) == (507, "no_room")

    service.kill("child")
    queued = eventually(lambda: service.get(f"/v1/jobs/{job_id}")["state"] == "queued")
    assert queued, "no job is claimed while the disk is full"
    service.fill()
    assert _upload(service, tmp_path).status_code == 507
    answer = service.http.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200
    assert answer.json()["state"] == "queued"

    service.empty()
    job = service.succeed(job_id)
    assert service.get(f"/v1/jobs/{job_id}/report")["bit_exact"]
    states = [event["state"] for event in service.events(job_id, "state")]
    assert [state for state in states if state in ENDED] == ["succeeded"]
    assert job["attempt"] == 2, "it went on once, from its last good checkpoint"
    assert _upload(service, tmp_path).status_code == 201
