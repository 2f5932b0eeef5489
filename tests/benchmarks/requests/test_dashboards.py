"""What 200 open dashboards cost the API while a real job trains: half show the list of jobs, half that job.

They ask as the pages in `app/ui/static` do: each thing every 2 s, and the events as a stream. The bar: the API's
processor under half a core.
"""

import asyncio
import json
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.benchmarks.figures import say
from tests.benchmarks.requests.test_side_by_side import MANIFEST, processor_seconds
from tests.demo.service import Service

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
DASHBOARDS, SECONDS, EVERY = 200, 30.0, 2.0


async def _signed_in(service: Service) -> httpx.AsyncClient:
    http = httpx.AsyncClient(base_url=service.url, timeout=60)
    (await http.post("/ui/session", json={"key": service.key})).raise_for_status()
    return http


async def _list(http: httpx.AsyncClient, end: float) -> int:
    asked = 0
    while time.monotonic() < end:
        (await http.get("/v1/jobs", params={"limit": 50})).raise_for_status()
        asked += 1
        await asyncio.sleep(EVERY)
    return asked


async def _job(http: httpx.AsyncClient, job: str, end: float) -> int:
    async def events() -> int:
        count = 0
        async with http.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as answer:
            async for line in answer.aiter_lines():
                count += line.startswith("data:")
        return count

    stream = asyncio.create_task(events())
    since = 0
    while time.monotonic() < end:
        (await http.get(f"/v1/jobs/{job}")).raise_for_status()
        found = await http.get(f"/v1/jobs/{job}/metrics", params={"points": 500, "since": since})
        since = max([since, *(each["step"] for each in found.raise_for_status().json()["latest"].values())])
        await asyncio.sleep(EVERY)
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    return since


def test_two_hundred_open_dashboards(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", x=draw.normal(size=(4000, 64)).astype("f4"), y=draw.integers(0, 10, 4000))
    with Service(tmp_path / "data") as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
            files: dict[str, tuple[str | None, str | bytes]] = {
                "manifest": (None, json.dumps(MANIFEST)),
                "file": ("rows.npz", (tmp_path / "rows.npz").read_bytes()),
            }
            dataset = http.post("/v1/datasets", files=files).raise_for_status().json()["id"]
            http.get(f"/v1/datasets/{dataset}?wait=30").raise_for_status()
            spec = {"kind": "train", "dataset": dataset, "model": {"family": "mlp", "hidden": [64]}}
            spec["training"] = {"epochs": 10_000, "early_stopping": None}
            jobs = [http.post("/v1/jobs", json=spec).raise_for_status().json()["id"] for _ in range(60)]
            while http.get(f"/v1/jobs/{jobs[0]}").json()["state"] != "running":
                time.sleep(0.2)
            steps, cores = asyncio.run(_watched(service, jobs[0]))
            assert http.get(f"/v1/jobs/{jobs[0]}").json()["state"] == "running", "it trained all the while"
    say(f"{DASHBOARDS} open dashboards for {SECONDS:.0f} s, a job that trains ({min(steps)} steps seen by all)")
    print(f"  the API's processor: {cores:.2f} of a core, bar 0.50")


async def _watched(service: Service, job: str) -> tuple[list[int], float]:
    """The last step that each dashboard of the job saw, and the API's processor meanwhile, in cores."""
    clients = [await _signed_in(service) for _ in range(DASHBOARDS)]
    before, began = processor_seconds(service.pid), time.monotonic()
    end = began + SECONDS
    half = DASHBOARDS // 2
    lists = [asyncio.create_task(_list(each, end)) for each in clients[:half]]
    steps = await asyncio.gather(*(_job(each, job, end) for each in clients[half:]))
    await asyncio.gather(*lists)
    cores = (processor_seconds(service.pid) - before) / (time.monotonic() - began)
    for each in clients:
        await each.aclose()
    return steps, cores
