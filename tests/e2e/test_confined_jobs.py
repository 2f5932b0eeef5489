"""A job of the running service is confined, and does what it did before."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.demo.service import Service
from tests.e2e.conftest import Client
from tests.integration.worker.harness import children_of

SECCOMP_FILTER = "2"
JOB = {"kind": "train", "target": "y1", "model": {"family": "mlp", "hidden": [4]}, "exports": ["onnx"]}


def _process_of(service: Service, job_id: str) -> int | None:
    """The child of a fork server that has files of the job open and has confined itself."""
    servers = [pid for worker in children_of(service.pid) for pid in children_of(worker)]
    for pid in (child for server in servers for child in children_of(server)):
        with suppress(OSError):
            opened = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
            if any(job_id in path for path in opened) and _status(pid)["Seccomp"] == SECCOMP_FILTER:
                return pid
    return None


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_process_of_a_running_job_is_confined(client: Client, service: Service, article: dict[str, Any]) -> None:
    job = client.submit({**JOB, "dataset": article["id"], "training": {"epochs": 100_000}})
    deadline = time.monotonic() + 60
    while (pid := _process_of(service, job["id"])) is None:
        assert time.monotonic() < deadline, "no confined process"
        time.sleep(0.05)
    found = _status(pid)
    client.http.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    assert found["NoNewPrivs"] == "1"
    assert {found[name].strip("0") for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {""}


def test_the_memory_of_files_is_measured_though_a_job_starts_no_processes(
    client: Client, article: dict[str, Any]
) -> None:
    job = client.finish({**JOB, "dataset": article["id"], "training": {"epochs": 1}})
    costs = client.report(job)["student"]["runtime"]
    assert costs["onnxruntime"]["peak_memory_bytes"] > 0
