"""How soon a job trains: from `created_at` to the claim, and to the event of its first step.

The bar: under 50 ms to the claim, under 0.5 s to the first step, on an idle warm slot with its inputs in the cache.
"""

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.benchmarks.figures import line, ratio, say
from tests.benchmarks.jobs.uploads import upload_dataset
from tests.demo.service import Service

pytestmark = pytest.mark.benchmark
JOBS = 20


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _dataset(http: httpx.Client, folder: Path) -> str:
    random = np.random.default_rng(0)
    file = folder / "digits.npz"
    np.savez(file, x=random.integers(0, 256, (5000, 28, 28), dtype=np.uint8), y=random.integers(0, 10, 5000))
    manifest = {
        "name": "digits",
        "format": "npz",
        "inputs": {"x": {"kind": "array", "scale": 1 / 255}},
        "targets": {"y": {"kind": "class", "classes": 10}},
    }
    return upload_dataset(http, manifest, file)


def _run(http: httpx.Client, spec: dict[str, Any]) -> tuple[float, float, float]:
    """Seconds that the submission took, and from created_at to claim and to first step."""
    began = time.monotonic()
    answer = http.post("/v1/jobs", json=spec)
    submitted = time.monotonic() - began
    answer.raise_for_status()
    job = http.get(f"/v1/jobs/{answer.json()['id']}?wait=60").json()
    assert job["state"] == "succeeded", job["error"]
    created = _moment(job["created_at"])
    events = http.get(f"/v1/jobs/{job['id']}/events?limit=200").json()["data"]
    claimed = next(e for e in events if e["type"] == "state" and e["data"]["state"] == "starting")
    stepped = next(e for e in events if e["type"] == "progress" and e["data"]["step"] >= 1)
    return submitted, _moment(claimed["time"]) - created, _moment(stepped["time"]) - created


def _cold() -> float:
    """Seconds that a fresh process takes to its first torch operation: what the warm fork server saves."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch; torch.ones(2).sum()"], check=True)
    return time.monotonic() - began


def test_the_time_to_the_first_step(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            spec = {
                "kind": "train",
                "dataset": _dataset(http, tmp_path),
                "model": {"family": "mlp", "hidden": [64]},
                "training": {"steps": 50},
            }
            _run(http, spec)  # puts the input into the cache
            found = [_run(http, spec) for _ in range(JOBS)]
    submitted, claimed, stepped = (list(each) for each in zip(*found, strict=True))
    say("From a submission to the first training step, SQLite, an idle warm slot, inputs in the cache")
    line("POST /v1/jobs", submitted)
    line("created_at -> claim", claimed)
    warm = line("created_at -> first training step", stepped)
    cold = line("a fresh process's first torch operation", [_cold() for _ in range(3)])
    ratio("first step over a fresh process", warm, cold)
