"""What 1000 long polls cost the other requests, and a commit, on SQLite and on PostgreSQL.

The bars: the others' median at most twice that without long polls; a commit at most 25 ms of the API's processor time.
"""

import json
import os
import resource
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.benchmarks.figures import ratio, say
from tests.benchmarks.requests.load import load, request
from tests.benchmarks.requests.test_side_by_side import job_spec, processor_seconds, service_on

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
POLLS, COMMITS, SECONDS = 1000, 50, 3.0


def test_a_thousand_long_polls(database_url: str, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    opened: list[socket.socket] = []
    try:
        with service_on(database_url, tmp_path) as service:
            spec = job_spec(service, tmp_path)
            headers = {"Authorization": f"Bearer {service.key}"}
            with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
                jobs = [http.post("/v1/jobs", json=json.loads(spec)).json()["id"] for _ in range(20)]
                get = request("GET", f"/v1/jobs/{jobs[0]}", service.key)
                alone = load(service.port, get, connections=4, seconds=SECONDS)
                for place in range(POLLS):
                    opened.append(socket.create_connection(("127.0.0.1", service.port)))
                    opened[-1].sendall(request("GET", f"/v1/jobs/{jobs[place % 10]}?wait=60", service.key))
                time.sleep(3.0)
                beside = load(service.port, get, connections=4, seconds=SECONDS)
                before = processor_seconds(service.pid)
                for place in range(COMMITS):
                    action = ("pause", "resume")[place // 10 % 2]
                    http.post(f"/v1/jobs/{jobs[10 + place % 10]}/{action}").raise_for_status()
                commit = (processor_seconds(service.pid) - before) / COMMITS
    finally:
        for each in opened:
            each.close()
    say(f"{POLLS} long polls on {database_url.partition('+')[0]}, load average {os.getloadavg()[0]:.1f}")
    ratio("others' p50, over that without them", beside.percentile(0.5), alone.percentile(0.5))
    print(f"  a request that commits: {commit * 1000:.1f} ms of processor, bar 25")
