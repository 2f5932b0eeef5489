"""Faults of the control plane, one function each: (seed, an empty folder, the URL of an empty database) -> Outcome.

drain               SIGTERM to the main process or the whole group, and a second one to who does not follow
stops               pause and cancel of a child that follows, and of one that is stopped (SIGSTOP)
database_restarts   PostgreSQL restarted at once, again and again, while clients submit
lost_answers        connections cut between a COMMIT and its answer, or before it
clock_jumps         the wall clock of one worker jumps by an hour, either way
long_life           many small jobs through one service
load                64 clients at once for a minute

python -m tests.faults.campaign.control_faults NAME [SEED [sqlite|postgresql]]     one round of one of them
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from app.contracts.states import JobState
from app.db.migrate import upgrade
from tests.faults.campaign.outcome import Needs, Outcome
from tests.faults.clocks.clocks import HOUR, compiler, settable_clock
from tests.faults.database.cut_connections import cutting, now_and_then, through
from tests.faults.database.postgresql import own_postgres
from tests.faults.database.restarts import restarts
from tests.faults.load.load import LOCKED, press
from tests.faults.load.long_life import SPARE_DESCRIPTORS, SPARE_THREADS, live_through
from tests.faults.services.control_service import TRACEBACK, ControlledService
from tests.faults.services.serve import eventually
from tests.integration.worker.harness import WorkerHarness

_DRAINING = "draining with 1 jobs"
_OBEYED, _KILLED_AFTER = 5.0, 10.0
"""Seconds within which a child follows here, a step and a checkpoint being much less; and until one is killed."""


def _url(url: str) -> str:
    """Empty for SQLite, which the service puts into its own folder."""
    return url if url.startswith("postgresql") else ""


def _ends(service: ControlledService, job_id: str) -> int:
    states = [event["state"] for event in service.events(job_id, "state")]
    return sum(state in ("succeeded", "failed", "cancelled") for state in states)


def _sized(service: ControlledService, dataset: str, seconds: float) -> dict[str, object]:
    """A training of about so many seconds on this machine."""
    probe = service.succeed(service.submit(service.training(dataset, 500)))
    taken = service.get(f"/v1/jobs/{probe['id']}/report")["seconds"]["training"]
    return service.training(dataset, int(500 * seconds / taken), seed=1)


def _drains_again(service: ControlledService, before: int) -> bool:
    return service.log.count(_DRAINING) > before


def drain(seed: int, folder: Path, database_url: str) -> Outcome:
    """Two drains of one job, and a second SIGTERM while its child does not follow; recovery is the longest time from
    the last SIGTERM until every process had ended.
    """
    chance, longest = random.Random(seed), 0.0
    with ControlledService(folder / "data", _url(database_url), checkpoint_seconds=3600) as service:
        dataset = service.dataset(folder)
        spec = _sized(service, dataset, 6.0)
        job_id = service.submit(spec)
        for deaf in (False, False, True):
            service.state(job_id, "running")
            time.sleep(chance.uniform(0.0, 1.0))
            if deaf:
                service.send(signal.SIGSTOP, [eventually(lambda: service.pid("child"))])
                drains_again = partial(_drains_again, service, service.log.count(_DRAINING))
                service.send(signal.SIGTERM)
                eventually(drains_again)
            longest = max(longest, service.stop(group=not deaf and chance.random() < 0.5))
            service.start()
        job, undisturbed = service.succeed(job_id), service.succeed(service.submit(spec))
        digests = [service.get(f"/v1/jobs/{each['id']}/report")["digests"]["student"] for each in (job, undisturbed)]
        return Outcome(
            others=3,
            lost=int(job["crashes"] != 0),  # what was charged
            doubled=_ends(service, job_id) - 1,
            stale=(TRACEBACK,) if TRACEBACK in service.log else (),
            bit_exact=digests[0] == digests[1],
            recovery=longest,
        )


def stops(seed: int, folder: Path, database_url: str) -> Outcome:
    """Pause, resume, pause of a stopped child, resume, cancel, retry; recovery is the longest time until in effect,
    10 s of which a stopped child has before it is killed. The retry's student must be the undisturbed one.
    """
    chance, longest = random.Random(seed), 0.0
    with ControlledService(folder / "data", _url(database_url)) as service:
        spec = _sized(service, service.dataset(folder), 6.0)
        job_id = service.submit(spec)
        slow = 0
        for action, end, stopped in (
            ("pause", "paused", False),
            ("pause", "paused", True),
            ("cancel", "cancelled", False),
        ):
            service.await_checkpoint(job_id)
            time.sleep(chance.uniform(0.0, 0.3))
            if stopped:
                service.send(signal.SIGSTOP, [eventually(lambda: service.pid("child"))])
            began = time.monotonic()
            slow += service.act(job_id, action)[1] > 2.0
            service.state(job_id, end)
            taken = time.monotonic() - began
            slow += taken > (_OBEYED + _KILLED_AFTER if stopped else _OBEYED)
            longest = max(longest, taken)
            if end == "paused":
                service.act(job_id, "resume")
        answer = service.http.post(f"/v1/jobs/{job_id}/retry", json={"from_checkpoint": True})
        retried, undisturbed = service.succeed(answer.json()["id"]), service.succeed(service.submit(spec))
        digests = [
            service.get(f"/v1/jobs/{each['id']}/report")["digests"]["student"] for each in (retried, undisturbed)
        ]
        return Outcome(
            others=3,
            stuck=slow,
            doubled=_ends(service, job_id) - 1,
            bit_exact=digests[0] == digests[1],
            recovery=longest,
        )


def database_restarts(seed: int, folder: Path, database_url: str) -> Outcome:
    """Ten restarts of a PostgreSQL of its own. Recovery is the longest time until the API was ready again."""
    if not database_url.startswith("postgresql"):
        raise Needs("PostgreSQL")
    found = restarts(folder, seed, rounds=10)
    lost = set(found.responses.accepted) ^ set(found.jobs)
    lost |= {job_id for job_id, job in found.jobs.items() if job["state"] != "succeeded"}
    missed = [] if found.events == found.written else ["a stream that broke off"]
    return Outcome(
        others=10,
        lost=len(lost),
        doubled=sum(count != 1 for count in found.ends.values()),
        stuck=int(found.trained["attempt"] != 1),
        stale=(*found.responses.errors, *missed, *([found.traceback] if found.traceback else [])),
        recovery=found.recovery,
    )


def lost_answers(seed: int, folder: Path, database_url: str) -> Outcome:
    """Four jobs of a worker whose connections are cut at 4 commits of 10. Recovery is the longest job's time."""
    if not database_url.startswith("postgresql"):
        raise Needs("PostgreSQL")
    return asyncio.run(_lost_answers(seed, folder, database_url))


async def _lost_answers(seed: int, folder: Path, database_url: str) -> Outcome:
    upgrade(database_url)
    cutter = now_and_then(seed, 0.4)
    harness = WorkerHarness(database_url, folder / "data", lease_seconds=30.0)
    lost = doubled = stuck = 0
    began = time.monotonic()
    try:
        with cutting(database_url.partition("host=")[2], cutter) as port:
            harness.settings = harness.settings.model_copy(update={"database_url": through(database_url, port)})
            harness.process()
            for job_id in [await harness.submit("work", steps=12, every=4, pause=0.02) for _ in range(4)]:
                job = await harness.ends(job_id)
                lost += job.state is not JobState.SUCCEEDED
                stuck += job.attempt != 1
                steps = [event.data["step"] for event in await harness.events(job_id) if event.type == "checkpoint"]
                doubled += steps != [4, 8]
    finally:
        await harness.close()
    return Outcome(others=cutter.cuts, lost=lost, doubled=doubled, stuck=stuck, recovery=time.monotonic() - began)


def clock_jumps(seed: int, folder: Path, database_url: str) -> Outcome:
    """Four jumps of a worker's wall clock while it trains. Recovery is the time to its next renewal."""
    if compiler() is None:
        raise Needs("a C compiler")
    return asyncio.run(_clock_jumps(seed, folder, database_url))


async def _clock_jumps(seed: int, folder: Path, database_url: str) -> Outcome:
    upgrade(database_url)
    chance, clock, longest = random.Random(seed), settable_clock(folder), 0.0
    harness = WorkerHarness(database_url, folder / "data", lease_seconds=4.0)
    before = {name: os.environ.get(name) for name in clock.environment}
    os.environ.update(clock.environment)
    try:
        harness.process()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    try:
        harness.process()
        job_id = await harness.submit("work", steps=20, every=4, hold=10)
        await harness.stepping(job_id, 10)
        for _ in range(4):
            clock.jump(chance.choice((HOUR, 0, -HOUR)))
            renewed, began = (await harness.row(job_id)).lease_expires, time.monotonic()
            for _ in range(2):
                await _changed(harness, job_id, renewed)
            longest = max(longest, time.monotonic() - began)
        row = await harness.row(job_id)
        await harness.act("cancel", job_id)
        await harness.ends(job_id)
    finally:
        await harness.close()
    return Outcome(others=4, lost=int(row.crashes != 0), stuck=int(row.attempt != 1), recovery=longest)


def _changed(harness: WorkerHarness, job_id: str, lease: float | None) -> Awaitable[object]:
    return harness.until(job_id, lambda row: row.lease_expires != lease)


def long_life(seed: int, folder: Path, database_url: str, jobs: int = 200) -> Outcome:
    """200 small jobs; what has grown is stale. No faults are injected."""
    with ControlledService(folder / "data", _url(database_url), checkpoint_kept_hours=0, lease_seconds=4) as service:
        early, late, well = live_through(service, folder, jobs)
    print(f"after {max(8, jobs // 5)} jobs: {early}\nafter {jobs}: {late}", flush=True)
    grown = [
        f"{name} {getattr(early, name)} -> {getattr(late, name)}"
        for name, spare in (("descriptors", SPARE_DESCRIPTORS), ("threads", SPARE_THREADS), ("megabytes", 32))
        if getattr(late, name) > getattr(early, name) + spare
    ]
    grown += [
        f"{name} {getattr(early, name)} -> {getattr(late, name)}"
        for name in ("processes", "files", "temporary")
        if getattr(late, name) != getattr(early, name)
    ]
    return Outcome(lost=jobs - well, stale=tuple(grown))


def load(seed: int, folder: Path, database_url: str, seconds: float = 60.0) -> Outcome:
    """64 clients. Lost is what was accepted and is not there, stale what broke the contract, recovery the larger p99 of
    submissions and polls.
    """
    with ControlledService(folder / "data", _url(database_url), lease_seconds=60) as service:
        found = press(service, folder, 64, seconds)
    print(found, flush=True)
    gone = [words for words in found.broken if "is not there" in words]
    stale = [words for words in found.broken if words not in gone]
    stale += [LOCKED] if LOCKED in found.log else []
    return Outcome(
        lost=len(gone),
        stuck=found.server_errors,
        stale=tuple(stale),
        recovery=max(found.percentile(what, 0.99) for what in ("submit", "poll")),
    )


FAULTS = (drain, stops, database_restarts, lost_answers, clock_jumps, long_life, load)


def main(name: str, seed: int, kind: str) -> None:
    """One round, on a database of its own."""
    inject = {fault.__name__: fault for fault in FAULTS}[name]
    with tempfile.TemporaryDirectory() as place, own_postgres() if kind == "postgresql" else nullcontext() as own:
        folder = Path(place)
        url = own.url if own is not None else f"sqlite+aiosqlite:///{folder}/stillhouse.db"
        print(f"{name}, seed {seed}, {kind}: {inject(seed, folder, url)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int((*sys.argv[2:], "0")[0]), (*sys.argv[3:], "sqlite")[0])
