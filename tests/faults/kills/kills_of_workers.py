"""Many small jobs on two supervisors; children, fork servers and supervisors are killed, supervisors also stopped."""

import asyncio
import hashlib
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

from app.db.migrate import upgrade
from tests.faults.campaign.outcome import Outcome, together
from tests.faults.checks.job_outcomes import Hit, jobs_held_by, kept, none_near_its_end, unended
from tests.faults.checks.leftovers import processes_in, stale_blobs, stale_files
from tests.faults.checks.slot_users import slots_given_twice
from tests.integration.worker.harness import Process, WorkerHarness, eventually

ENTRY = "tests.faults.kills.checked_children:behave"
LEASE_SECONDS = 3.0
JOBS, FAULTS = 10, 12
STEPS = 40
KINDS = ("child", "child", "fork server", "supervisor", "stop")


def counted(steps: int) -> str:
    """The digest of the student of a job of `work` that was never disturbed."""
    running = ""
    for step in range(1, steps + 1):
        running = hashlib.sha256(f"{running}{step}".encode()).hexdigest()
    return hashlib.sha256(running.encode()).hexdigest()


def killed_workers(seed: int, folder: Path, url: str, jobs: int = JOBS, faults: int = FAULTS) -> Outcome:
    """See the module."""
    upgrade(url)
    return asyncio.run(_Round(seed, folder / "data", url).run(jobs, faults))


class _Round:
    def __init__(self, seed: int, data: Path, url: str) -> None:
        self._chance = random.Random(seed)
        self._harness = WorkerHarness(url, data, LEASE_SECONDS)
        self._data = data
        self._workers = [self._harness.process(entry=ENTRY) for _ in range(2)]
        self._hits: list[Hit] = []
        self._kills = self._stops = 0

    async def run(self, count: int, faults: int) -> Outcome:
        harness = self._harness
        try:
            jobs = [await harness.submit("work", steps=STEPS, every=4, pause=0.03) for _ in range(count)]
            for _ in range(faults):
                await asyncio.sleep(self._chance.uniform(0.05, 0.6))
                await eventually(lambda: none_near_its_end(harness.database, jobs))
                await self._fault(jobs)
            with suppress(AssertionError):  # who waits in vain is stuck: `kept` says so
                await eventually(lambda: self._ended(jobs))
            students = dict.fromkeys(jobs, counted(STEPS))
            found = await kept(harness.database, jobs, students, self._hits, LEASE_SECONDS)
            with suppress(AssertionError):
                await eventually(self._tidy)
            stale = stale_files(self._data) + await stale_blobs(harness.database, self._data)
        finally:
            await harness.close()
        with suppress(AssertionError):
            await eventually(self._alone)
        stale += [f"process {pid}" for pid in processes_in(self._data)]
        doubled = len(slots_given_twice(self._data))
        return together([found, Outcome(self._kills, self._stops, doubled=doubled, stale=tuple(stale))])

    async def _ended(self, jobs: list[str]) -> bool:
        return not await unended(self._harness.database, jobs)

    async def _tidy(self) -> bool:
        return not stale_files(self._data)

    async def _alone(self) -> bool:
        return not processes_in(self._data)

    async def _fault(self, jobs: list[str]) -> None:
        """One fault at one of the workers, which is running again afterwards; while jobs are left to be hit."""
        kind = self._chance.choice(KINDS)
        while await unended(self._harness.database, jobs):
            place = self._chance.randrange(len(self._workers))
            worker = self._workers[place]
            hits = await jobs_held_by(self._harness.database, worker.popen.pid)
            if kind == "stop":
                worker.send(signal.SIGSTOP)
                await asyncio.sleep(self._chance.uniform(0.0, 1.3 * LEASE_SECONDS))
                worker.send(signal.SIGCONT)
                self._stops += 1
                return
            if kind == "supervisor":
                await self._replace(worker, place, hits)
                return
            if self._kill(worker.running_children() if kind == "child" else worker.fork_servers(), hits):
                return
            await asyncio.sleep(0.03)  # this worker has none just now

    async def _replace(self, worker: Process, place: int, hits: list[Hit]) -> None:
        worker.send(signal.SIGKILL)
        await worker.ended()
        self._kills += 1
        self._hits += hits
        self._workers[place] = self._harness.process(entry=ENTRY)

    def _kill(self, pids: list[int], hits: list[Hit]) -> bool:
        """Whether one of these could be killed."""
        if not pids:
            return False
        try:
            os.kill(self._chance.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return False  # it ended by itself just now
        self._kills += 1
        self._hits += hits
        return True
