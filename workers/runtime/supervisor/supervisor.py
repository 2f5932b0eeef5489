"""The supervisor: claims jobs for its slots, renews their leases, releases jobs of dead workers, drains on SIGTERM."""

import asyncio
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from app.contracts.specs.families.family import Extra
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.errors import DatabaseUnavailable
from app.db.signals import WORK
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.queue.predictions import owners
from app.queue.records import WorkerLane
from app.queue.workers import presence
from app.settings import Settings
from app.storage.store import BlobStore
from workers.runtime import health, locks
from workers.runtime.child.pool import DEFAULT_ENTRY, ChildPool, NoForkServer
from workers.runtime.clock import host_clock
from workers.runtime.disk.inputs import InputCache
from workers.runtime.disk.space import DiskSpace
from workers.runtime.extras import PRELOADED, installed_extras
from workers.runtime.paths import Paths
from workers.runtime.predictions.lane import PredictLane
from workers.runtime.predictions.sessions import ANSWER_SECONDS, Sessions
from workers.runtime.retention import policy
from workers.runtime.supervisor.attempt import STOP_SECONDS, Attempt
from workers.runtime.supervisor.attempt_context import AttemptContext
from workers.runtime.supervisor.deadlines import Deadlines
from workers.runtime.supervisor.presence import facts_of
from workers.runtime.supervisor.publishing import Publisher
from workers.runtime.supervisor.slots import Slot

RENEWALS = 4
"""Renewals per lease."""
POLL_SECONDS = 2.0
"""Longest time between two queries of the queue or of a job, in case every signal is lost."""
ERROR_PAUSE_SECONDS = 1.0
LOCK_POLL_SECONDS = 0.05
RETENTION_SECONDS = 30.0
MAINTENANCE_SECONDS = 15.0
"""Longest time between two looks for idle sessions of predictions."""
_log = logging.getLogger("stillhouse.worker")


class Supervisor:
    """One per worker process. `run` returns when it has drained."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: BlobStore,
        slots: list[Slot],
        entry: str = DEFAULT_ENTRY,
        *,
        predicts: bool = False,
        deadlines: Deadlines = Deadlines(),
        stop_seconds: float = STOP_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        extras: frozenset[Extra] | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._slots = slots
        self._paths = Paths(settings.data_dir)
        self._ledger = Ledger(database, settings.lease_seconds)
        self._disk = DiskSpace(settings.data_dir, settings.spare_disk_bytes)
        self.children = ChildPool(entry)
        self._children_by_extra = {extra: ChildPool(entry, [module]) for extra, module in PRELOADED.items()}
        self._context = AttemptContext(
            settings=settings,
            ledger=self._ledger,
            children=self.children,
            children_by_extra=self._children_by_extra,
            inputs=InputCache(self._paths, store),
            publisher=Publisher(self._ledger, Blobs(database, store), settings.lease_seconds),
            disk=self._disk,
            deadlines=deadlines,
            stop_seconds=stop_seconds,
            extras=installed_extras() if extras is None else extras,
        )
        # Unique for each process: host names and process ids can be reused.
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex}"
        sessions = Sessions(
            self.children, self._paths.sessions / self.owner, settings.prediction_sessions, answer_seconds
        )
        self.predictions = (
            PredictLane(settings, database, self._context.inputs, sessions, self.owner) if predicts else None
        )
        self._attempts: dict[str, Attempt] = {}  # by token: a job that is lost and claimed again has two for a while
        self._draining = asyncio.Event()
        self._started_at = utcnow()

    async def run(self) -> None:
        """Work until `drain` is called and all jobs are done or put back into the queue."""
        owned = locks.own(self._paths.owner_lock(self.owner))
        interval = self._settings.lease_seconds / RENEWALS
        background = [
            asyncio.create_task(_every(ERROR_PAUSE_SECONDS, self.children.warm_up)),
            asyncio.create_task(_every(interval, self._renew)),
            asyncio.create_task(_every(min(interval, ERROR_PAUSE_SECONDS), self._release_dead_owners)),
            asyncio.create_task(_every(interval, self._sweep)),
            asyncio.create_task(_every(min(interval, health.HEARTBEAT_SECONDS), self._heartbeat)),
            asyncio.create_task(_every(RETENTION_SECONDS, self._apply_retention)),
            asyncio.create_task(_every(interval, self._show)),
        ]
        lane = self.predictions
        if lane is not None:
            background.append(asyncio.create_task(_every(min(interval, MAINTENANCE_SECONDS), lane.maintain)))
        try:
            predicting = [] if lane is None else [lane.run()]
            await asyncio.gather(*(self._serve(slot) for slot in self._slots), *predicting)
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            holds_nothing = False
            with suppress(DatabaseUnavailable):
                await presence.leave(self._database, self.owner)
                holds_nothing = self.owner not in await self._ledger.owners()
            for pool in (self.children, *self._children_by_extra.values()):
                pool.close()
            os.close(owned)
            if holds_nothing:  # else the free lock is what tells other workers to release its jobs now
                self._paths.owner_lock(self.owner).unlink(missing_ok=True)

    def drain(self, *, now: bool = False) -> None:
        """Stop claiming, and have the children checkpoint within `drain_seconds`, or kill them `now`.

        Their jobs go back to the queue. Further calls have no effect, except `now`.
        """
        if now or not self._draining.is_set():
            _log.info("%s with %d jobs", "killing" if now else "draining", len(self._attempts))
        self._draining.set()
        if self.predictions is not None:
            self.predictions.drain(now=now)
        for attempt in list(self._attempts.values()):
            attempt.stop("drain", self._settings.drain_seconds)
            if now:
                attempt.kill()

    # Slots.

    async def _serve(self, slot: Slot) -> None:
        with self._database.watch(WORK) as work:
            while not self._draining.is_set():
                try:
                    if not await self._run_one(slot):
                        await self._or_drain(work.wait(POLL_SECONDS))
                except (DatabaseUnavailable, NoForkServer) as error:
                    _log.warning("%s waits: %s", slot.name, error)
                    await self._or_drain(asyncio.sleep(ERROR_PAUSE_SECONDS))
                except Exception:
                    _log.exception("slot %s failed; it continues", slot.name)
                    await self._or_drain(asyncio.sleep(ERROR_PAUSE_SECONDS))

    async def _or_drain(self, waiting: Coroutine[Any, Any, object]) -> None:
        """Wait for something, or until draining begins. Raises what `waiting` raises."""
        await _first(waiting, self._draining.wait())

    async def _run_one(self, slot: Slot) -> bool:
        """Claim and run one job; False if there was none.

        No job is claimed before the fork server is ready, the slot's lock is held, and device and disk have enough
        space.
        """
        await self._or_drain(self.children.warm_up())
        if self._draining.is_set():
            return False
        lock = locks.take(self._paths.slot_lock(slot.name))
        if lock is None:
            await asyncio.sleep(LOCK_POLL_SECONDS)  # a child is still exiting, perhaps one of a dead supervisor
            return True
        try:
            if not await asyncio.to_thread(slot.has_room) or not await asyncio.to_thread(self._disk.has_room):
                return False
            leased = host_clock()
            claim = await self._ledger.claim(self.owner, slot.lane, slot.device, self._context.extras)
            if claim is None:
                return False
            await self._run_attempt(Attempt(claim, slot, lock, leased, self._context))
            return True
        finally:
            os.close(lock)

    async def _run_attempt(self, attempt: Attempt) -> None:
        token = attempt.claim.token
        for earlier in self._attempts.values():
            if earlier.claim.job_id == attempt.claim.job_id:
                earlier.lose()
        self._attempts[token] = attempt
        if self._draining.is_set():
            attempt.stop("drain", self._settings.drain_seconds)
        ended = asyncio.Event()
        follower = asyncio.create_task(self._follow(attempt, ended))
        try:
            await attempt.run()
        finally:
            ended.set()
            del self._attempts[token]
            await asyncio.gather(follower, asyncio.to_thread(attempt.clean_up))

    async def _follow(self, attempt: Attempt, ended: asyncio.Event) -> None:
        """Notice cancel and pause as soon as they are committed, not at the next renewal."""
        job_id = attempt.claim.job_id
        with self._database.watch(job_id) as watch:
            while not ended.is_set():
                await _first(watch.wait(POLL_SECONDS), ended.wait())
                try:
                    held = await self._ledger.held([attempt.claim])
                except DatabaseUnavailable:
                    continue  # the renewals log it
                if job_id in held and not ended.is_set():
                    attempt.on_state(held[job_id])

    # Leases.

    async def _renew(self) -> None:
        """Renew all leases together. While the database is unavailable, the children's deadlines approach."""
        attempts, asked = [each for each in self._attempts.values() if not each.is_lost], host_clock()
        states = await self._ledger.renew([attempt.claim for attempt in attempts])
        for attempt in attempts:
            if attempt.claim.token not in self._attempts:
                continue  # it has ended meanwhile
            if attempt.claim.job_id in states:
                attempt.renewed(states[attempt.claim.job_id], asked)
            else:
                attempt.lose()

    async def _release_dead_owners(self) -> None:
        """Release what owners on this host hold whose lock is free: their process is dead, even with a valid lease.

        Lock files of dead owners are removed, also of those without a job: nothing else would remove them.
        """
        dead = [path for path in self._paths.owner_locks() if locks.is_free(path)]  # before the owners are queried
        for owner in await self._ledger.owners():
            if owner != self.owner and locks.is_free(self._paths.owner_lock(owner)):
                await self._ledger.lose_owner(owner)
        for owner in await owners.owners(self._database):
            if owner != self.owner and locks.is_free(self._paths.owner_lock(owner)):
                await owners.leave(self._database, owner)
        for path in dead:
            locks.remove_free(path)

    async def _sweep(self) -> None:
        """Release jobs whose lease has expired, and remove the folders of those that have ended."""
        await self._ledger.sweep()
        running = {attempt.claim.job_id for attempt in self._attempts.values()}
        await policy.remove_ended_jobs(self._settings, self._ledger, running)

    async def _apply_retention(self) -> None:
        """Apply the retention policy to this disk; the inputs of jobs that run here stay."""
        needed = {path for attempt in self._attempts.values() for path in attempt.inputs}
        for item in await policy.find_stale(self._settings, self._database, needed):
            await asyncio.to_thread(item.remove)

    async def _show(self) -> None:
        """Say what this worker is, to those who watch the service, and forget the dead ones of this host."""
        lanes: set[WorkerLane] = {slot.lane for slot in self._slots}
        lanes |= {"predict"} if self.predictions is not None else set()
        facts = await asyncio.to_thread(facts_of, self._slots, lanes, self._settings.data_dir, self._started_at)
        await presence.renew(self._database, self.owner, facts, self._settings.lease_seconds)
        for owner in await presence.owners(self._database):
            if owner != self.owner and locks.is_free(self._paths.owner_lock(owner)):
                await presence.leave(self._database, owner)

    # Readiness.

    async def _heartbeat(self) -> None:
        """For the health check: children can be started, and the database answers."""
        await self.children.warm_up()
        await self._database.ping()
        health.write_heartbeat(self._paths)


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
    """Repeat until cancelled. Errors are logged, and the work is soon tried again, because leases depend on it."""
    while True:
        pause = seconds
        try:
            await work()
        except (DatabaseUnavailable, NoForkServer) as error:
            _log.warning("%s", error)
            pause = min(seconds, ERROR_PAUSE_SECONDS)
        except Exception:
            _log.exception("background work failed; it is tried again")
        await asyncio.sleep(pause)
