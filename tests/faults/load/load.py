"""Many clients at once: they submit, look, follow events and download, for so many seconds.

python -m tests.faults.load.load [SECONDS [CLIENTS]]      both databases; prints a line for each
"""

import asyncio
import ssl
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.faults.database.postgresql import own_postgres
from tests.faults.services.control_service import TRACEBACK, ControlledService

LOCKED = "database is locked"


@dataclass
class Load:
    """Responses to the clients, and their latencies."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    """Answers that are none of those that were expected, in words."""
    accepted: set[str] = field(default_factory=set)
    log: str = ""

    def percentile(self, what: str, share: float) -> float:
        """Seconds within which this share (0 to 1) of the requests was answered."""
        found = sorted(self.seconds[what])
        return found[min(len(found) - 1, int(share * len(found)))]

    @property
    def server_errors(self) -> int:
        """Answers of 500 and above."""
        return sum(count for status, count in self.statuses.items() if status >= 500)

    def __str__(self) -> str:
        timed = (
            f"{what} {len(found)}: p50 {1000 * statistics.median(found):.0f} ms, p99 "
            f"{1000 * self.percentile(what, 0.99):.0f} ms"
            for what, found in sorted(self.seconds.items())
        )
        return "; ".join((*timed, f"5xx {self.server_errors}", f"locked {self.log.count(LOCKED)}"))


def press(service: ControlledService, folder: Path, clients: int, seconds: float) -> Load:
    """Load on a service that runs already. Jobs that are still queued at the end are left so."""
    dataset = service.dataset(folder)
    done = service.succeed(service.submit(service.training(dataset, 5)))["id"]
    load = Load()
    asyncio.run(_press(service, load, service.training(dataset, 5), done, clients, seconds))
    listed = {job["id"] for job in service.pages("/v1/jobs")}
    load.broken += [f"{job_id} was accepted and is not there" for job_id in load.accepted - listed]
    load.log = service.log
    if TRACEBACK in load.log:
        place = load.log.index(TRACEBACK)
        load.broken.append(load.log[place : place + 2000])
    return load


async def _press(
    service: ControlledService, load: Load, spec: dict[str, Any], done: str, clients: int, seconds: float
) -> None:
    until = time.monotonic() + seconds
    kinds = (_submits, _polls, _follows, _downloads)
    trusted = ssl.create_default_context()  # takes long, and there is one for each client otherwise

    async def client(number: int) -> None:
        # A connection of its own: a pool that all share looks at every connection for every request, which took three
        # quarters of the clients' processor time, and more than the service's.
        async with httpx.AsyncClient(
            base_url=service.http.base_url, headers=service.http.headers, timeout=60, verify=trusted
        ) as http:
            await _client(kinds[number % len(kinds)], http, load, spec, done, until)

    await asyncio.gather(*(client(number) for number in range(clients)))


Work = Callable[[httpx.AsyncClient, Load, dict[str, Any], str], Awaitable[None]]


async def _client(
    work: Work, http: httpx.AsyncClient, load: Load, spec: dict[str, Any], done: str, until: float
) -> None:
    while time.monotonic() < until:
        try:
            await work(http, load, spec, done)
        except httpx.HTTPError as error:
            load.broken.append(f"{work.__name__}: {type(error).__name__}: {error}")


async def _timed(load: Load, what: str, wanted: int, asking: Awaitable[httpx.Response]) -> httpx.Response:
    began = time.monotonic()
    answer = await asking
    load.seconds[what].append(time.monotonic() - began)
    load.statuses[answer.status_code] += 1
    if answer.status_code != wanted:
        load.broken.append(f"{what}: {answer.status_code} {answer.text[:200]}")
    return answer


async def _submits(http: httpx.AsyncClient, load: Load, spec: dict[str, Any], done: str) -> None:
    """Submit, look at it, cancel it: the queue does not grow beyond what a worker can take."""
    answer = await _timed(load, "submit", 202, http.post("/v1/jobs", json=spec))
    if answer.status_code == 202:
        job_id = str(answer.json()["id"])
        load.accepted.add(job_id)
        await _timed(load, "poll", 200, http.get(f"/v1/jobs/{job_id}"))
        if len(load.accepted) % 4:
            await http.post(f"/v1/jobs/{job_id}/cancel")


async def _polls(http: httpx.AsyncClient, load: Load, spec: dict[str, Any], done: str) -> None:
    job_id = next(iter(load.accepted), done)
    await _timed(load, "poll", 200, http.get(f"/v1/jobs/{job_id}"))
    await _timed(load, "list", 200, http.get("/v1/jobs?limit=20"))


async def _follows(http: httpx.AsyncClient, load: Load, spec: dict[str, Any], done: str) -> None:
    async def follow() -> httpx.Response:
        headers = {"Accept": "text/event-stream"}
        async with http.stream("GET", f"/v1/jobs/{done}/events", headers=headers) as answer:
            await answer.aread()
            return answer

    answer = await _timed(load, "stream", 200, follow())
    if '"state":"succeeded"' not in answer.text:
        load.broken.append(f"stream: it ended early: {answer.text[-200:]}")


async def _downloads(http: httpx.AsyncClient, load: Load, spec: dict[str, Any], done: str) -> None:
    answer = await _timed(load, "download", 200, http.get(f"/v1/jobs/{done}/student/weights"))
    if len(answer.content) != int(answer.headers["content-length"]):
        load.broken.append("download: it ended early")


def main(seconds: float, clients: int) -> None:
    """Both databases, one after the other."""
    for name in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as place, own_postgres() if name == "postgresql" else nullcontext() as own:
            folder = Path(place)
            with ControlledService(folder / "data", own.url if own is not None else "", lease_seconds=60) as service:
                load = press(service, folder, clients, seconds)
        print(f"{name}, {clients} clients, {seconds:g} s: {load}", flush=True)
        for words in load.broken[:5]:
            print(f"  {words}", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, int(sys.argv[2]) if len(sys.argv) > 2 else 64)
