"""PostgreSQL is restarted at once, again and again, while a job trains and clients submit."""

import random
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.database.postgresql import own_postgres
from tests.faults.load.clients import Clients, Responses
from tests.faults.services.control_service import TRACEBACK, ControlledService
from tests.faults.services.serve import eventually

LEASE_SECONDS = 30.0


@dataclass(frozen=True)
class Restarted:
    """What is left of it."""

    responses: Responses
    trained: dict[str, Any]
    """The job that trained through it all, cancelled at the end."""
    jobs: dict[str, dict[str, Any]]
    """Every other job that is there, once it has ended."""
    ends: dict[str, int]
    """How often each of them ended."""
    events: list[int]
    """Numbers of the events that one client received on one stream."""
    written: list[int]
    """Numbers of the events that are there."""
    traceback: str
    """What stands around a traceback in the log, if there is one."""
    recovery: float
    """Longest time from the beginning of a restart to the first answer that is no 503."""


def restarts(folder: Path, seed: int, rounds: int, pause: float = 0.4) -> Restarted:
    """One service on a PostgreSQL of its own, which is restarted `rounds` times; two clients submit a job each, and
    the next one `pause` seconds later.
    """
    chance = random.Random(seed)
    with (
        own_postgres() as postgres,
        ControlledService(
            folder / "data", postgres.url, lease_seconds=LEASE_SECONDS, workers=2, checkpoint_seconds=1
        ) as service,
    ):
        dataset = service.dataset(folder)
        training = service.submit(service.training(dataset, 2_000_000))
        service.stepping(training)
        seen: list[int] = []
        with Clients(service) as clients:
            small = service.training(dataset, 2)
            clients.submit(small, pause)
            clients.submit(small, pause, key=lambda: uuid.uuid4().hex)
            clients.poll("/v1/jobs?limit=5", 0.05)
            clients.poll("/readyz", 0.05)
            clients.follow(training, seen)
            recovery = 0.0
            for _ in range(rounds):
                time.sleep(chance.uniform(0.1, 1.5))
                began = time.monotonic()
                postgres.restart()
                eventually(lambda: service.http.get("/readyz").status_code == 200)
                recovery = max(recovery, time.monotonic() - began)
            service.act(training, "cancel")
            trained = service.state(training, "cancelled")
            clients.end()
        found = _jobs(service)
        written = [event["seq"] for event in service.pages(f"/v1/jobs/{training}/events")]
        log = service.log
        place = log.find(TRACEBACK)
        return Restarted(
            clients.responses,
            trained,
            {job_id: job for job_id, job in found.items() if job_id != training},
            {job_id: _ends(service, job_id) for job_id in found if job_id != training},
            seen,
            written,
            log[max(0, place - 500) : place + 2500] if place >= 0 else "",
            recovery,
        )


def _jobs(service: ControlledService) -> dict[str, dict[str, Any]]:
    """All jobs, when they have ended."""
    page = service.get("/v1/jobs?limit=200")
    assert not page["has_more"]
    return {job["id"]: service.state(job["id"], "succeeded", "failed", "cancelled") for job in page["data"]}


def _ends(service: ControlledService, job_id: str) -> int:
    return sum(event["state"] in ("succeeded", "failed", "cancelled") for event in service.events(job_id, "state"))
