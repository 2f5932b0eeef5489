"""What requests cost beside a bare FastAPI endpoint, on SQLite and on PostgreSQL.

The bars, relative to the rate of the bare endpoint: GET of a job 0.45, a list of 50 jobs 0.20, POST of a job 0.12.
Rounds of all four follow each other, one process each, and the figures are medians over the rounds. The processor time
of the API's process depends less than the rate on what else runs on the machine, so both ratios are printed.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.db.migrate import upgrade
from tests.benchmarks.figures import say
from tests.benchmarks.requests.load import load, request
from tests.demo.service import Service, free_port

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
ROUNDS, SECONDS, CONNECTIONS = 5, 2.0, 8
BARS = {"GET a job": 0.45, "list of 50": 0.20, "POST a job": 0.12}
MANIFEST = {
    "name": "rows",
    "format": "npz",
    "inputs": {"x": {"kind": "array"}},
    "targets": {"y": {"kind": "class", "classes": 10}},
}


@contextmanager
def _bare() -> Iterator[tuple[int, int]]:
    """Process and port of a bare endpoint."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "tests.benchmarks.requests.bare", str(port)]) as process:
        try:
            for _ in range(200):
                try:
                    httpx.get(f"http://127.0.0.1:{port}/jobs/x").raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield process.pid, port
        finally:
            process.terminate()


@contextmanager
def service_on(database_url: str, folder: Path) -> Iterator[Service]:
    """The service on this database; its worker inspects and trains nothing."""
    settings = {"STILLHOUSE_REQUESTS_PER_SECOND": "1000000", "STILLHOUSE_REQUEST_BURST": "1000000"}
    if not database_url.startswith("sqlite"):
        upgrade(database_url)
        settings["STILLHOUSE_DATABASE_URL"] = database_url
    with Service(folder / "data", workers=0, settings=settings) as service:
        yield service


def job_spec(service: Service, folder: Path) -> bytes:
    """The body of a job on a new dataset, which is ready."""
    random = np.random.default_rng(0)
    file = folder / "rows.npz"
    np.savez(file, x=random.normal(size=(1000, 16)).astype(np.float32), y=random.integers(0, 10, 1000))
    headers = {"Authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http, file.open("rb") as body:
        made = http.post("/v1/datasets", files={"manifest": (None, json.dumps(MANIFEST)), "file": body})
        found = http.get(f"/v1/datasets/{made.json()['id']}?wait=60").json()
    assert found["state"] == "ready", found["rejection"]
    return json.dumps({"kind": "train", "dataset": found["id"], "model": {"family": "mlp", "hidden": [16]}}).encode()


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far, in seconds. Source: proc_pid_stat(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_requests_beside_a_bare_endpoint(database_url: str, tmp_path: Path) -> None:
    rates, costs = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    with service_on(database_url, tmp_path) as service, _bare() as (bare, bare_port):
        spec, key = job_spec(service, tmp_path), service.key
        post = request("POST", "/v1/jobs", key, spec)
        load(service.port, post, connections=4, seconds=1.5)
        headers = {"Authorization": f"Bearer {key}"}
        job = httpx.get(f"{service.url}/v1/jobs?limit=1", headers=headers).json()["data"][0]["id"]
        measured = {
            "bare endpoint": (bare, bare_port, request("GET", f"/jobs/{job}")),
            "GET a job": (service.pid, service.port, request("GET", f"/v1/jobs/{job}", key)),
            "list of 50": (service.pid, service.port, request("GET", "/v1/jobs?limit=50", key)),
            "POST a job": (service.pid, service.port, post),
        }
        for _ in range(ROUNDS):
            for name, (pid, port, data) in measured.items():
                before = processor_seconds(pid)
                found = load(port, data, connections=CONNECTIONS, seconds=SECONDS)
                assert set(found.statuses) <= {"200", "202"}, found.statuses
                rates[name].append(found.rate)
                costs[name].append((processor_seconds(pid) - before) / len(found.latencies))
    say(f"Requests beside a bare FastAPI endpoint, {database_url.partition('+')[0]}, {CONNECTIONS} connections")
    for name in measured:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        by_rate = statistics.median(one / other for one, other in zip(rates[name], rates["bare endpoint"], strict=True))
        by_cost = statistics.median(one / other for one, other in zip(costs["bare endpoint"], costs[name], strict=True))
        bar = f", bar {BARS[name]:.2f}" if name in BARS else ""
        figures = f"{rate:7.0f}/s, {cost * 1000:6.2f} ms of processor"
        print(f"  {name:<16} {figures}, of the bare rate {by_rate:.2f}, by processor time {by_cost:.2f}{bar}")
