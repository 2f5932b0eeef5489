"""The supervisor: claims jobs for its slots, renews their leases, sweeps up after the dead, drains on SIGTERM."""

import asyncio
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

from app.db.engine import Database
from app.db.errors import DatabaseUnavailable
from app.db.signals import WORK
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.settings import Settings
from app.storage.store import BlobStore
from workers.runtime import health, keeping, locks, retention
from workers.runtime.attempt import INSPECTION_SECONDS, OBEY_SECONDS, Attempt, Means
from workers.runtime.children import DEFAULT_ENTRY, NoForkServer, Nursery
from workers.runtime.disk import Disk
from workers.runtime.lifeline import host_clock
from workers.runtime.materialise import Materialiser
from workers.runtime.places import Places
from workers.runtime.publishing import Publisher
from workers.runtime.slots import Slot

RENEWALS = 4
"""Renewals in a lease."""
IDLE_SECONDS = 2.0
"""Longest wait between two looks at the queue or at a job, should every signal be lost."""
AWAY_SECONDS = 1.0
LOCK_SECONDS = 0.05
TIDY_SECONDS = 30.0
_log = logging.getLogger("stillhouse.worker")


class Supervisor:
    """One a worker process. `run` returns when it has drained."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: BlobStore,
        slots: list[Slot],
        entry: str = DEFAULT_ENTRY,
        *,
        inspection_seconds: float = INSPECTION_SECONDS,
        obey_seconds: float = OBEY_SECONDS,
    ) -> None:
        self._settings = settings
        self._database = database
        self._slots = slots
        self._places = Places(settings.data_dir)
        self._ledger = Ledger(database, settings.lease_seconds)
        self.nursery = Nursery(entry)
        publisher = Publisher(self._ledger, Blobs(database, store), settings.lease_seconds)
        materialiser = Materialiser(settings, store)
        self._disk = Disk(settings.data_dir, settings.spare_disk_bytes)
        self._means = Means(
            settings, self._ledger, self.nursery, materialiser, publisher, inspection_seconds, obey_seconds, self._disk
        )
        # Fresh for each process: a host's name or a process number can come again.
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._attempts: dict[str, Attempt] = {}  # by token: a job that was lost and claimed again has two for a while
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Work until `drain` is called and all jobs are done or given back."""
        owned = locks.own(self._places.owner_lock(self.owner))
        beat = self._settings.lease_seconds / RENEWALS
        background = [
            asyncio.create_task(_every(AWAY_SECONDS, self._keep_warm)),
            asyncio.create_task(_every(beat, self._renew)),
            asyncio.create_task(_every(min(beat, AWAY_SECONDS), self._release_the_dead)),
            asyncio.create_task(_every(beat, self._sweep)),
            asyncio.create_task(_every(min(beat, health.SIGN_SECONDS), self._show_life)),
            asyncio.create_task(_every(TIDY_SECONDS, self._tidy)),
        ]
        try:
            await asyncio.gather(*(self._serve(slot) for slot in self._slots))
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self.nursery.close()
            os.close(owned)
            self._places.owner_lock(self.owner).unlink(missing_ok=True)

    def drain(self, *, now: bool = False) -> None:
        """Stop claiming and have the children checkpoint, for which they have `drain_seconds`; `now`: kill them.

        Either way their jobs go back to the queue. Said twice it is done once.
        """
        if now or not self._draining.is_set():
            _log.info("%s with %d jobs", "killing" if now else "draining", len(self._attempts))
        self._draining.set()
        for attempt in list(self._attempts.values()):
            attempt.tell("drain", self._settings.drain_seconds)
            if now:
                attempt.kill()

    # Slots.

    async def _serve(self, slot: Slot) -> None:
        with self._database.watch(WORK) as work:
            while not self._draining.is_set():
                try:
                    if not await self._one_job(slot):
                        await self._or_drain(work.wait(IDLE_SECONDS))
                except (DatabaseUnavailable, NoForkServer) as error:
                    _log.warning("%s waits: %s", slot.name, error)
                    await self._or_drain(asyncio.sleep(AWAY_SECONDS))
                except Exception:
                    _log.exception("%s failed, and goes on", slot.name)
                    await self._or_drain(asyncio.sleep(AWAY_SECONDS))

    async def _or_drain(self, waiting: Coroutine[Any, Any, object]) -> None:
        """Wait for something, or for the drain. Raises what the first raises."""
        await _first(waiting, self._draining.wait())

    async def _one_job(self, slot: Slot) -> bool:
        """Claim and run one job; whether there was one.

        Nothing is claimed before the fork server is warm, the slot's lock is held, and its device and the disk have
        room.
        """
        await self._or_drain(self.nursery.warm_up())
        if self._draining.is_set():
            return False
        lock = locks.take(self._places.slot_lock(slot.name))
        if lock is None:
            await asyncio.sleep(LOCK_SECONDS)  # a child is still ending, perhaps a dead supervisor's
            return True
        try:
            if not await asyncio.to_thread(slot.has_room) or not await asyncio.to_thread(self._disk.has_room):
                return False
            leased = host_clock()
            claim = await self._ledger.claim(self.owner, slot.lane, slot.device)
            if claim is None:
                return False
            await self._attempt(Attempt(claim, slot, lock, leased, self._means))
            return True
        finally:
            os.close(lock)

    async def _attempt(self, attempt: Attempt) -> None:
        token = attempt.claim.token
        for earlier in self._attempts.values():
            if earlier.claim.job_id == attempt.claim.job_id:
                earlier.lost()
        self._attempts[token] = attempt
        if self._draining.is_set():
            attempt.tell("drain", self._settings.drain_seconds)
        ended = asyncio.Event()
        follower = asyncio.create_task(self._follow(attempt, ended))
        try:
            await attempt.run()
        finally:
            ended.set()
            del self._attempts[token]
            await asyncio.gather(follower, asyncio.to_thread(attempt.clean_up))

    async def _follow(self, attempt: Attempt, ended: asyncio.Event) -> None:
        """Hear of cancel and pause as soon as they are committed, not at the next renewal."""
        job_id = attempt.claim.job_id
        with self._database.watch(job_id) as watch:
            while not ended.is_set():
                await _first(watch.wait(IDLE_SECONDS), ended.wait())
                try:
                    held = await self._ledger.held([attempt.claim])
                except DatabaseUnavailable:
                    continue  # the renewals say so aloud
                if job_id in held and not ended.is_set():
                    attempt.see(held[job_id])

    # Leases.

    async def _renew(self) -> None:
        """Renew all leases together. While the database is away nothing is renewed, and the children's alarms run."""
        attempts, asked = [each for each in self._attempts.values() if not each.is_lost], host_clock()
        states = await self._ledger.renew([attempt.claim for attempt in attempts])
        for attempt in attempts:
            if attempt.claim.token not in self._attempts:
                continue  # ended meanwhile
            if attempt.claim.job_id in states:
                attempt.renewed(states[attempt.claim.job_id], asked)
            else:
                attempt.lost()

    async def _release_the_dead(self) -> None:
        """Jobs of owners of this host whose lock is free: their process is dead, whatever their leases say. The lock
        of one that holds no job goes too: nothing else would ever remove it.
        """
        dead = [path for path in self._places.owner_locks() if locks.is_free(path)]  # before their jobs are asked for
        for owner in await self._ledger.owners():
            if owner != self.owner and locks.is_free(self._places.owner_lock(owner)):
                await self._ledger.lose_owner(owner)
        for path in dead:
            locks.remove_free(path)

    async def _sweep(self) -> None:
        """Jobs whose lease ran out, and the folders of those that are over: their outputs are in the store.

        Of a failed or cancelled one the checkpoints stay for a while, for a retry.
        """
        await self._ledger.sweep()
        if not self._places.jobs.is_dir():
            return
        held = {attempt.claim.job_id for attempt in self._attempts.values()}
        here = [path.name for path in self._places.jobs.iterdir() if path.name not in held]
        kept = timedelta(hours=self._settings.checkpoint_kept_hours)
        for job_id, checkpoints_too in (await self._ledger.discard(here, kept)).items():
            remove = keeping.remove_job if checkpoints_too else keeping.remove_attempts
            await asyncio.to_thread(remove, self._places, job_id)

    async def _tidy(self) -> None:
        """What this disk keeps too long (see `retention`), the inputs of jobs that run here apart."""
        needed = {path for attempt in self._attempts.values() for path in attempt.inputs}
        for each in await retention.stale(self._settings, self._database, needed):
            await asyncio.to_thread(each.remove)

    # Readiness.

    async def _keep_warm(self) -> None:
        """A fork server that is ready before the next job, also after one has died."""
        await self.nursery.warm_up()

    async def _show_life(self) -> None:
        """For the health check: it can start children and the database answers."""
        await self.nursery.warm_up()
        await self._database.ping()
        health.show(self._places)


async def _first(wanted: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object]) -> None:
    """Return when one of the two ends. Raises what `wanted` raises."""
    wait, also = asyncio.create_task(wanted), asyncio.create_task(other)
    try:
        await asyncio.wait({wait, also}, return_when=asyncio.FIRST_COMPLETED)
        if wait.done():
            wait.result()
    finally:
        wait.cancel()
        also.cancel()


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Again and again until it is cancelled. What fails is said and tried again, soon: leases hang on it."""
    while True:
        pause = seconds
        try:
            await work()
        except (DatabaseUnavailable, NoForkServer) as error:
            _log.warning("%s", error)
            pause = min(seconds, AWAY_SECONDS)
        except Exception:
            _log.exception("background work failed, and goes on")
        await asyncio.sleep(pause)
