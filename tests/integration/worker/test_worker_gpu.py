"""With a CUDA device: one slot for each, pinned in the child before CUDA starts."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.demo.service import Service
from workers.runtime.paths import Paths
from workers.runtime.supervisor import devices
from workers.runtime.supervisor.slots import taken_slots

pytestmark = pytest.mark.gpu


def test_there_is_a_slot_for_each_gpu_with_room(tmp_path: Path) -> None:
    cards = devices.gpus()
    assert cards
    with taken_slots(Paths(tmp_path), 1, {"train"}) as slots:
        assert [(slot.name, slot.device, slot.visible) for slot in slots] == [(card, "cuda:0", card) for card in cards]
        assert all(slot.has_room() for slot in slots)


def test_a_child_of_the_warm_fork_server_trains_on_the_gpu(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 8)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    manifest = {
        "name": "rows",
        "format": "npz",
        "inputs": {"x": {"kind": "array"}},
        "targets": {"y": {"kind": "class", "classes": 2}},
    }
    with Service(tmp_path / "data") as service, (tmp_path / "rows.npz").open("rb") as body:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            made = http.post("/v1/datasets", files={"manifest": (None, json.dumps(manifest).encode()), "file": body})
            dataset = http.get(f"/v1/datasets/{made.json()['id']}?wait=60").json()
            spec = {"kind": "train", "dataset": dataset["id"], "model": {"family": "mlp"}, "training": {"steps": 20}}
            job = http.get(f"/v1/jobs/{http.post('/v1/jobs', json=spec).json()['id']}?wait=60").json()
            assert job["state"] == "succeeded", job["error"]
            report = http.get(f"/v1/jobs/{job['id']}/report").json()
    assert report["environment"]["device"].startswith("cuda (")
