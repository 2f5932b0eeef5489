"""A short campaign: many jobs, random kills and stops of children, fork servers and supervisors.

`STILLHOUSE_FAULT_SEED` chooses the faults; `make faults` runs through many seeds.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.contracts.states import TERMINAL, JobState
from app.db.migrate import upgrade
from tests.integration.worker.house import House, Process, eventually

SEED = int(os.environ.get("STILLHOUSE_FAULT_SEED", "0"))
JOBS = 6
FAULTS = 8
FAULT_KINDS = ("child", "fork server", "supervisor", "stop")


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    upgrade(database_url)
    house = House(database_url, tmp_path / "data", lease_seconds=3.0)
    yield house
    await house.close()


def _kill(pids: list[int], chance: random.Random) -> None:
    if pids:
        try:
            os.kill(chance.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended by itself just now


async def _fault(house: House, workers: list[Process], chance: random.Random) -> None:
    """One fault at one of the workers, which is running again afterwards."""
    place, kind = chance.randrange(len(workers)), chance.choice(FAULT_KINDS)
    worker = workers[place]
    if kind == "child":
        _kill(worker.running_children(), chance)
    elif kind == "fork server":
        _kill(worker.fork_servers(), chance)
    elif kind == "stop":
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.0, 4.0))
        worker.send(signal.SIGCONT)
    else:
        worker.send(signal.SIGKILL)
        await worker.ended()
        workers[place] = house.process()


async def test_nothing_is_lost_and_nothing_ends_twice(house: House) -> None:
    chance = random.Random(SEED)
    async with house.supervising():
        undisturbed = await house.ends(await house.submit("work", steps=40, every=4))
    expected = await house.student(undisturbed.id)
    workers = [house.process(), house.process()]
    jobs = [await house.submit("work", steps=40, every=4, pause=0.03) for _ in range(JOBS)]

    async def spared() -> bool:
        """No job is one crash from failing: a third one without a new checkpoint would be a failure by right."""
        rows = [await house.row(job_id) for job_id in jobs]
        return all(row.crashes < 2 or row.state in TERMINAL for row in rows)

    for _ in range(FAULTS):
        await asyncio.sleep(chance.uniform(0.05, 0.6))
        await eventually(spared)
        await _fault(house, workers, chance)

    for job_id in jobs:
        job = await house.ends(job_id)
        assert job.state is JobState.SUCCEEDED, f"seed {SEED}: {job.error}"
        assert await house.student(job_id) == expected
        events = await house.events(job_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert (await house.states(job_id)).count("starting") == job.attempt
