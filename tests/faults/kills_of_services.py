"""Several real jobs on a service with two supervisors; children, fork servers, supervisors and the API are killed at
random moments while a client submits and asks.
"""

import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path

from app.db.engine import Database, open_database
from tests.faults.campaign.outcome import Outcome, together
from tests.faults.fleet import LEASE_SECONDS, Fleet
from tests.faults.house import eventually
from tests.faults.leavings import processes_in, stale_blobs, stale_files
from tests.faults.lessons import KINDS, Lessons, described
from tests.faults.promises import SPARE, Hit, jobs_held_by, kept, none_near_its_end, unended
from tests.faults.witness import slots_given_twice

PARTS = ("child", "fork server", "supervisor", "api")
FAULTS = 8
LONG = 600
"""Steps of a job: long enough to be met by several faults."""


def killed_services(seed: int, folder: Path, url: str, faults: int = FAULTS, kinds: tuple[str, ...] = KINDS) -> Outcome:
    """One job of each kind, each twice: undisturbed first, then all of them under fire."""
    data = folder / "data"
    with Fleet(data, url, workers=2) as service:
        lessons = Lessons(service, folder)
        training = {**described(seed), "steps": LONG}
        specs = [lessons.spec(kind, training) for kind in kinds]
        undisturbed = [service.submit(spec) for spec in specs]
        students = [service.digest(service.succeed(job_id)["id"]) for job_id in undisturbed]
        found = asyncio.run(_Fire(service, seed).on(specs, students, faults))
        with suppress(AssertionError):
            eventually(lambda: not stale_files(data))
        stale = stale_files(data) + asyncio.run(_stale_blobs(url, data))
    with suppress(AssertionError):
        eventually(lambda: not processes_in(data))
    stale += [f"process {pid}" for pid in processes_in(data)]
    return together([found, Outcome(doubled=len(slots_given_twice(data)), stale=tuple(stale))])


async def _stale_blobs(url: str, data: Path) -> list[str]:
    database = open_database(url)
    try:
        return await stale_blobs(database, data)
    finally:
        await database.close()


class _Fire:
    """Faults at random moments, and what they met."""

    def __init__(self, service: Fleet, seed: int) -> None:
        self._service = service
        self._chance = random.Random(seed)
        self._hits: list[Hit] = []
        self._kills = 0
        self._away = 0.0

    async def on(self, specs: list[dict[str, object]], students: list[str], faults: int) -> Outcome:
        """Submit the jobs, all at once, and fire until all have ended or `faults` are spent."""
        service = self._service
        jobs = [service.submit(spec) for spec in specs]
        database = open_database(service.settings.database)
        try:
            for _ in range(faults):
                await asyncio.sleep(self._chance.uniform(0.1, 0.9))
                while not await none_near_its_end(database, jobs):  # noqa: ASYNC110 (other processes change it)
                    await asyncio.sleep(0.05)
                await self._fault(database)
            deadline = time.monotonic() + 60.0 + LEASE_SECONDS + SPARE
            while await unended(database, jobs) and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
            by_job = dict(zip(jobs, students, strict=True))
            found = await kept(database, jobs, by_job, self._hits, LEASE_SECONDS)
        finally:
            await database.close()
        return together([found, Outcome(kills=self._kills, recovery=self._away or None)])

    async def _fault(self, database: Database) -> None:
        part = self._chance.choice(PARTS)
        if part == "api":
            began = time.monotonic()
            self._service.kill("api")
            self._away = max(self._away, time.monotonic() - began)
            self._kills += 1
            return
        place = self._chance.randrange(len(self._service.workers))
        worker = self._service.workers[place]
        hits = await jobs_held_by(database, worker.popen.pid)
        if part == "supervisor":
            self._service.kill_worker(place)
        elif not self._service.kill_one(worker.running_children() if part == "child" else worker.fork_servers()):
            return
        self._kills += 1
        self._hits += hits
