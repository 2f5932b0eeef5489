"""How long `POST /v1/models/{id}/predict` takes for a small student, on SQLite and on PostgreSQL.

The bar: a median under 50 ms where the session is warm. Cold is a request that has to start a session (a process, the
graph loaded); the second student has no ONNX file, which is then exported as well. Beside it `GET /v1/models/{id}`, the
cost of HTTP and the database alone.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.db.migrate import upgrade
from tests.benchmarks.figures import say
from tests.demo.service import Service

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
CLIENTS = 64
WARM, COLD, EACH = 200, 5, 10
MANIFEST = {
    "name": "rows",
    "format": "npz",
    "inputs": {"x": {"kind": "array", "standardize": True}},
    "targets": {"y": {"kind": "class", "classes": 10}},
}


def _times(ask: Callable[[], httpx.Response], count: int) -> list[float]:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        answer = ask()
        found.append(time.perf_counter() - began)
        answer.raise_for_status()
    return found


def _line(name: str, seconds: Sequence[float]) -> None:
    ordered = sorted(seconds)
    late = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    figures = f"p50 {statistics.median(ordered) * 1000:8.1f} ms, p99 {late * 1000:8.1f} ms"
    print(f"  {name:<48} {figures}, worst {ordered[-1] * 1000:8.1f} ms of {len(ordered)}")


def _student(http: httpx.Client, dataset: str, **spec: object) -> str:
    student = {"family": "mlp", "hidden": [16]}
    job = {"kind": "train", "dataset": dataset, "model": student, "training": {"epochs": 2}, **spec}
    made = http.post("/v1/jobs", json=job)
    made.raise_for_status()
    ended = http.get(f"/v1/jobs/{made.json()['id']}?wait=60").json()
    assert ended["state"] == "succeeded", ended
    return str(ended["student"])


def _dataset(http: httpx.Client, folder: Path) -> str:
    random = np.random.default_rng(0)
    np.savez(folder / "rows.npz", x=random.normal(size=(600, 64)).astype(np.float32), y=random.integers(0, 10, 600))
    with (folder / "rows.npz").open("rb") as body:
        made = http.post("/v1/datasets", files={"manifest": (None, json.dumps(MANIFEST)), "file": body})
    found = http.get(f"/v1/datasets/{made.json()['id']}?wait=60").json()
    assert found["state"] == "ready", found
    return str(found["id"])


def test_the_time_of_a_prediction(database_url: str, tmp_path: Path) -> None:
    kind = database_url.partition("+")[0]
    settings = {"STILLHOUSE_PREDICTION_SESSIONS": "1"}
    if kind != "sqlite":
        upgrade(database_url)
        settings["STILLHOUSE_DATABASE_URL"] = database_url
    with Service(tmp_path / "data", settings=settings) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        with httpx.Client(base_url=service.url, headers=headers, timeout=90, limits=limits) as http:
            dataset = _dataset(http, tmp_path)
            one, other = _student(http, dataset, exports=["onnx"]), _student(http, dataset)
            rows = np.random.default_rng(1).normal(size=(256, 64)).tolist()

            def ask(model: str, count: int = 1) -> httpx.Response:
                return http.post(f"/v1/models/{model}/predict", json={"inputs": {"x": rows[:count]}})

            say(f"Predictions of an mlp 64-16-10 on {kind}")
            cold = [(_times(lambda: ask(one), 1)[0], _times(lambda: ask(other), 1)[0]) for _ in range(COLD)]
            _times(lambda: ask(one), 10)
            _line("GET /v1/models/{id}", _times(lambda: http.get(f"/v1/models/{one}"), WARM))
            _line("warm, 1 row, one client", _times(lambda: ask(one), WARM))
            _line("warm, 256 rows, one client", _times(lambda: ask(one, 256), WARM // 3))
            began = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as pool:
                crowd = [pool.submit(_times, lambda: ask(one), EACH) for _ in range(CLIENTS)]
                crowded = [seconds for each in crowd for seconds in each.result()]
            _line(f"warm, 1 row, {CLIENTS} clients at once", crowded)
            print(f"  {len(crowded) / (time.perf_counter() - began):.0f} requests/s with {CLIENTS} clients")
            _line("cold, with an ONNX file", [each for each, _ in cold])
            _line("cold, exported first", [each for _, each in cold])
