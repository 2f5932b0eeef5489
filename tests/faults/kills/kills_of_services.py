"""Several real jobs on a service with two supervisors; children, fork servers, supervisors and the API are killed at
random moments while a client submits and asks.
"""

import asyncio
import random
import threading
import time
from pathlib import Path

import httpx
from sqlalchemy import func, select

from app.db.engine import Database, open_database
from app.db.rows import JobLabelRow
from tests.faults.campaign.outcome import Outcome, together
from tests.faults.checks.job_outcomes import SPARE, Hit, jobs_held_by, kept, none_near_its_end, unended
from tests.faults.checks.leftovers import stale_after, stale_beside
from tests.faults.checks.slot_users import slots_given_twice
from tests.faults.services.api_and_workers import LEASE_SECONDS, ApiAndWorkers
from tests.faults.services.serve import eventually
from tests.faults.services.small_jobs import KINDS, Json, TrainingInputs, described

PARTS = ("child", "fork server", "supervisor", "api")
FAULTS = 8
LONG = 1500
"""Steps of a job: long enough to be met by several faults."""


def killed_services(
    seed: int, folder: Path, url: str, faults: int = FAULTS, copies: int = 2, steps: int = LONG
) -> Outcome:
    """Two kinds of job, other ones with each seed: once undisturbed, then some copies of each under fire."""
    data = folder / "data"
    with ApiAndWorkers(data, url, workers=2) as service:
        all_outputs = TrainingInputs(service, folder)
        training = {**described(seed), "steps": steps}
        specs = [all_outputs.spec(kind, training) for kind in KINDS[seed % 2 :: 2]]
        undisturbed = [service.submit(spec) for spec in specs]
        students = [service.digest(service.succeed(job_id)["id"]) for job_id in undisturbed] * copies
        specs *= copies
        found = asyncio.run(_Fire(service, seed).on(specs, students, faults))
        stale = stale_beside(url, data)
    stale += stale_after(data)
    return together([found, Outcome(doubled=len(slots_given_twice(data)), stale=tuple(stale))])


class _Fire:
    """Faults at random moments, and what they met."""

    def __init__(self, service: ApiAndWorkers, seed: int) -> None:
        self._service = service
        self._chance = random.Random(seed)
        self._hits: list[Hit] = []
        self._kills = 0
        self._away = 0.0
        self._raced: Json = {}
        self._keys: list[str] = []
        self._accepted: list[str] = []

    async def on(self, specs: list[Json], students: list[str], faults: int) -> Outcome:
        """Submit the jobs, all at once, fire `faults` times, and wait until all have ended."""
        service, self._raced = self._service, specs[0]
        jobs = [service.submit(spec) for spec in specs]
        database = open_database(service.settings.database)
        try:
            for _ in range(faults):
                await asyncio.sleep(self._chance.uniform(0.1, 0.9))
                while not await none_near_its_end(database, jobs):  # noqa: ASYNC110 (other processes change it)
                    await asyncio.sleep(0.05)
                await self._fault(database, jobs)
            jobs += self._accepted
            students = [*students, *[students[0]] * len(self._accepted)]
            deadline = time.monotonic() + 60.0 + LEASE_SECONDS + SPARE
            while await unended(database, jobs) and time.monotonic() < deadline:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(0.1)
            by_job = dict(zip(jobs, students, strict=True))
            found = await kept(database, jobs, by_job, self._hits, LEASE_SECONDS)
            twice = await _more_than_one(database, self._keys)
        finally:
            await database.close()
        return together([found, Outcome(kills=self._kills, doubled=twice, recovery=self._away or None)])

    async def _fault(self, database: Database, jobs: list[str]) -> None:
        """One fault, while jobs are left to be hit."""
        part = self._chance.choice(PARTS)
        if part == "api":
            await asyncio.to_thread(self._kill_the_api)
            return
        while await unended(database, jobs):
            place = self._chance.randrange(len(self._service.workers))
            worker = self._service.workers[place]
            hits = await jobs_held_by(database, worker.popen.pid)
            if part == "supervisor":
                self._service.kill_worker(place)
            elif not self._service.kill_one(worker.running_children() if part == "child" else worker.fork_servers()):
                await asyncio.sleep(0.03)  # this worker has none just now
                continue
            self._kills += 1
            self._hits += hits
            return

    def _kill_the_api(self) -> None:
        """While a client submits, which repeats the request with the same key until the job is accepted."""
        key = f"key-{len(self._keys)}"
        self._keys.append(key)
        client = threading.Thread(target=self._submit, args=(key,))
        client.start()
        time.sleep(self._chance.uniform(0.0, 0.03))  # anywhere in the request, or before or after it
        began = time.monotonic()
        self._service.kill("api")
        self._away = max(self._away, time.monotonic() - began)
        self._kills += 1
        client.join()
        self._accepted.append(eventually(lambda: self._submit(key)))

    def _submit(self, key: str) -> str | None:
        """The job, or None where the answer never came."""
        spec = {**self._raced, "labels": {"key": key}}
        try:
            answer = self._service.http.post("/v1/jobs", json=spec, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return None
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


async def _more_than_one(database: Database, keys: list[str]) -> int:
    """Keys that more than one job was made of."""
    counted = select(JobLabelRow.value).where(JobLabelRow.key == "key", JobLabelRow.value.in_(keys))
    async with database.read() as session:
        doubled = await session.scalars(counted.group_by(JobLabelRow.value).having(func.count() > 1))
        return len(list(doubled))
