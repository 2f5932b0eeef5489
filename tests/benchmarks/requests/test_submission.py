"""How long `POST /v1/jobs` takes: the spec checked against model and dataset, the row committed, on SQLite.

The bar: a median under 10 ms. Beside it `GET /healthz`, which is the cost of HTTP alone, and eight clients at once.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.benchmarks.figures import line, ratio, say
from tests.demo.service import Service

pytestmark = pytest.mark.benchmark
JOBS = 300
CLIENTS = 8
MANIFEST = {
    "name": "rows",
    "format": "npz",
    "inputs": {"x": {"kind": "array"}},
    "targets": {"y": {"kind": "class", "classes": 10}},
}


def _dataset(http: httpx.Client, folder: Path) -> str:
    random = np.random.default_rng(0)
    file = folder / "rows.npz"
    np.savez(file, x=random.normal(size=(1000, 16)).astype(np.float32), y=random.integers(0, 10, 1000))
    with file.open("rb") as body:
        made = http.post("/v1/datasets", files={"manifest": (None, json.dumps(MANIFEST)), "file": body})
    made.raise_for_status()
    found = http.get(f"/v1/datasets/{made.json()['id']}?wait=60").json()
    assert found["state"] == "ready", found["rejection"]
    return str(found["id"])


def _times(ask: Callable[[], httpx.Response], count: int) -> list[float]:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        answer = ask()
        found.append(time.perf_counter() - began)
        answer.raise_for_status()
    return found


def test_the_time_of_a_submission(tmp_path: Path) -> None:
    with Service(tmp_path / "data", workers=0) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            model = {"family": "mlp", "hidden": [16]}
            spec = {"kind": "train", "dataset": _dataset(http, tmp_path), "model": model}
            _times(lambda: http.post("/v1/jobs", json=spec), 20)  # warm
            alone = _times(lambda: http.get("/healthz"), JOBS)
            submitted = _times(lambda: http.post("/v1/jobs", json=spec), JOBS)
            keyed = iter(range(JOBS))
            with_key = _times(
                lambda: http.post("/v1/jobs", json=spec, headers={"Idempotency-Key": f"key-{next(keyed)}"}), JOBS
            )
            with ThreadPoolExecutor(CLIENTS) as pool:
                crowd = [pool.submit(_times, lambda: http.post("/v1/jobs", json=spec), 50) for _ in range(CLIENTS)]
                crowded = [seconds for each in crowd for seconds in each.result()]
    say("Submission on SQLite, one client after the other")
    health = line("GET /healthz", alone)
    median = line("POST /v1/jobs", submitted)
    line("POST /v1/jobs with an Idempotency-Key", with_key)
    line(f"POST /v1/jobs, {CLIENTS} clients at once", crowded)
    ratio("POST /v1/jobs over GET /healthz", median, health)
