"""A supervisor is stopped at some word to ledger or store, until its lease is over and its job was finished elsewhere.
Continued, it must write nothing.
"""

import asyncio
import hashlib
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.contracts.states import TERMINAL
from app.db.base import Base
from app.db.engine import Database
from app.db.migrate import upgrade
from app.db.rows import WorkerRow
from tests.faults.campaign.outcome import Outcome, together
from tests.faults.checks.job_outcomes import jobs_held_by, kept
from tests.faults.checks.leftovers import processes_in, stale_blobs, stale_files
from tests.faults.checks.slot_users import slots_given_twice
from tests.faults.kills.halting_worker import PLACES, ask, halted
from tests.faults.kills.kills_of_workers import ENTRY, counted
from tests.integration.worker.harness import Process, WorkerHarness, eventually, gone

LEASE_SECONDS = 2.0
STEPS = 12
MODULE = "tests.faults.kills.halting_worker"
HELD: tuple[str, ...] = tuple(place for place in PLACES if place not in ("before-claim", "after-succeed"))
"""Where a supervisor that stops has the job, and has not yet ended it."""


def zombies(seed: int, folder: Path, url: str, places: int = 4) -> Outcome:
    """Some of the places, another choice with each seed; every other one on a host (a data directory) apart."""
    upgrade(url)
    chosen = [HELD[(seed * places + i) % len(HELD)] for i in range(places)]
    return together(
        asyncio.run(stopped_at(place, random.Random(f"{seed}-{place}"), folder / place, url, apart=(seed + i) % 2 == 1))
        for i, place in enumerate(chosen)
    )


async def stopped_at(place: str, chance: random.Random, folder: Path, url: str, *, apart: bool) -> Outcome:
    """One zombie: stopped at `place`, outlived by its lease, and continued."""
    harness = WorkerHarness(url, folder / "data", LEASE_SECONDS)
    home = _another_host(harness, folder / "apart", url) if apart else harness
    try:
        found, stale = await _zombie(place, chance, harness, home)
    finally:
        await harness.close()
        await home.close()
    with suppress(AssertionError):
        await eventually(lambda: _alone(folder))
    stale += [f"process {pid}" for pid in processes_in(folder)]
    doubled = len(slots_given_twice(harness.settings.data_dir))
    return together([found, Outcome(others=1, doubled=doubled, stale=tuple(stale))])


def _another_host(harness: WorkerHarness, data: Path, url: str) -> WorkerHarness:
    """Another data directory on the same database and store."""
    home = WorkerHarness(url, data, LEASE_SECONDS)
    store = f"file://{harness.settings.data_dir / 'blobs'}"
    home.settings = home.settings.model_copy(update={"store_url": store})
    return home


async def _zombie(
    place: str, chance: random.Random, harness: WorkerHarness, home: WorkerHarness
) -> tuple[Outcome, list[str]]:
    """What became of the job, and what is there that should not be. `home` is the zombie's."""
    data = home.settings.data_dir
    ask(data, place, chance.randrange(3) if place.endswith("record") else 0)
    zombie = home.process(entry=ENTRY, module=MODULE)
    job_id = await harness.submit("work", steps=STEPS, every=4, pause=0.03)
    pid = await eventually(lambda: _halted(data, place))
    assert pid == zombie.popen.pid
    hits = await jobs_held_by(harness.database, pid)
    await _outlived(zombie)
    successor = harness.process(entry=ENTRY)
    await harness.reaches(job_id, *TERMINAL)
    await eventually(lambda: _swept(harness, job_id))
    before = await _everything(harness)
    await _wake(zombie, data)
    after = await _everything(harness)
    stale = [f"a zombie stopped {place} wrote {what}" for what in _differences(before, after)]
    zombie.send(signal.SIGCONT)
    await eventually(lambda: _swept(home, job_id))  # what it made on its disk goes as all else does
    for worker in (zombie, successor):
        worker.send(signal.SIGTERM)
        await worker.ended()
    found = await kept(harness.database, [job_id], {job_id: counted(STEPS)}, hits, LEASE_SECONDS)
    stale += [words for each in {harness, home} for words in stale_files(each.settings.data_dir)]
    return found, stale + await stale_blobs(harness.database, harness.settings.data_dir)


async def _halted(data: Path, place: str) -> int | None:
    return halted(data, place)


async def _outlived(zombie: Process) -> None:
    """Its children end without a supervisor: by the alarm, which is no longer extended."""
    for child in zombie.running_children():
        await gone(child)


async def _wake(zombie: Process, data: Path) -> None:
    """Continued, until it asks for another job: then it has done whatever it would with the one that it lost."""
    ask(data, "before-claim")
    zombie.send(signal.SIGCONT)
    await eventually(lambda: _halted(data, "before-claim"))


async def _swept(harness: WorkerHarness, job_id: str) -> bool:
    return not harness.paths.job(job_id).exists()


async def _alone(data: Path) -> bool:
    return not processes_in(data)


Everything = dict[str, Any]


async def _everything(harness: WorkerHarness) -> Everything:
    """Every row of every table but what workers say of themselves, and the digest of all bytes in the store."""
    data = harness.settings.data_dir
    found: Everything = dict(await _tables(harness.database))
    found["bytes"] = sorted(
        f"{path.relative_to(data)}: {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in (data / "blobs").rglob("*")
        if path.is_file()
    )
    return found


async def _tables(database: Database) -> dict[str, list[str]]:
    async with database.read() as session:
        return {
            table.name: sorted(repr(tuple(row)) for row in await session.execute(select(table)))
            for table in Base.metadata.sorted_tables
            if table is not WorkerRow.__table__  # a process that continues is there again, and says so
        }


def _differences(before: Everything, after: Everything) -> Sequence[str]:
    return [f"{name}: {before[name]} became {after[name]}"[:300] for name in before if before[name] != after[name]]
