"""The supervisor: claims jobs for its slots, renews their leases, sweeps up after the dead, drains on SIGTERM."""

import asyncio
import logging
import os
import shutil
import signal
import uuid
from collections.abc import Coroutine
from contextlib import suppress

from app.contracts.states import TERMINAL
from app.db.engine import Database
from app.db.errors import DatabaseUnavailable
from app.db.signals import WORK
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.settings import Settings
from app.storage.store import BlobStore
from workers.runtime import locks
from workers.runtime.attempt import Attempt, Means
from workers.runtime.children import DEFAULT_ENTRY, Nursery
from workers.runtime.materialise import Materialiser
from workers.runtime.places import Places
from workers.runtime.publishing import Publisher
from workers.runtime.slots import Slot

RENEWALS = 4
"""Renewals in a lease."""
IDLE_SECONDS = 2.0
"""Longest wait between two looks at the queue, should every signal be lost."""
AWAY_SECONDS = 1.0
LOCK_SECONDS = 0.05
GLANCE_SECONDS = 0.5
_log = logging.getLogger("stillhouse.worker")


class Supervisor:
    """One a worker process. `run` returns when it has drained."""

    def __init__(
        self, settings: Settings, database: Database, store: BlobStore, slots: list[Slot], entry: str = DEFAULT_ENTRY
    ) -> None:
        self._settings = settings
        self._database = database
        self._slots = slots
        self._places = Places(settings.data_dir)
        self._ledger = Ledger(database, settings.lease_seconds)
        self.nursery = Nursery(entry)
        publisher = Publisher(self._ledger, Blobs(database, store))
        self._means = Means(settings, self._ledger, self.nursery, Materialiser(settings, store), publisher)
        # Fresh for each process: a host's name or a process number can come again.
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._attempts: dict[str, Attempt] = {}
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Work until `drain` is called (SIGTERM or SIGINT; a second one kills)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)
        self._places.locks.mkdir(parents=True, exist_ok=True)
        owned = locks.take(self._places.owner_lock(self.owner))
        assert owned is not None, "a fresh owner's lock is free"
        background = [asyncio.create_task(work()) for work in (self._keep_warm, self._heartbeat, self._sweep)]
        try:
            await asyncio.gather(*(self._serve(slot) for slot in self._slots))
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self.nursery.close()
            os.close(owned)
            self._places.owner_lock(self.owner).unlink(missing_ok=True)

    def drain(self) -> None:
        """Stop claiming and have the children checkpoint; called again, kill them."""
        again = self._draining.is_set()
        self._draining.set()
        for attempt in list(self._attempts.values()):
            if again:
                attempt.tell("drain")
                attempt.kill()
            else:
                attempt.tell("drain", self._settings.drain_seconds)

    # Slots.

    async def _serve(self, slot: Slot) -> None:
        with self._database.watch(WORK) as work:
            while not self._draining.is_set():
                if await self._one_job(slot):
                    continue
                await self._or_drain(work.wait(IDLE_SECONDS))

    async def _or_drain(self, waiting: Coroutine[None, None, bool]) -> None:
        """Wait for something, or for the drain."""
        tasks = {asyncio.create_task(waiting), asyncio.create_task(self._draining.wait())}
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()

    async def _one_job(self, slot: Slot) -> bool:
        """Claim and run one job; whether there was one. The slot's lock is held before anything is claimed."""
        lock = locks.take(self._places.slot_lock(slot.name))
        if lock is None:
            await asyncio.sleep(LOCK_SECONDS)  # a child of a dead supervisor is still ending
            return False
        try:
            claim = await self._ledger.claim(self.owner, slot.lane, slot.device)
            if claim is None:
                return False
            attempt = Attempt(claim, slot, lock, self._means)
            self._attempts[claim.job_id] = attempt
            if self._draining.is_set():
                attempt.tell("drain")
            follower = asyncio.create_task(self._follow(attempt))
            try:
                await attempt.run()
            finally:
                follower.cancel()
                del self._attempts[claim.job_id]
                await asyncio.to_thread(attempt.clean_up)
            return True
        except DatabaseUnavailable as error:
            _log.warning("the database is away (%s)", error)
            await asyncio.sleep(AWAY_SECONDS)
            return False
        finally:
            os.close(lock)

    async def _follow(self, attempt: Attempt) -> None:
        """Hear of cancel and pause as soon as they are committed, not at the next renewal."""
        with self._database.watch(attempt.claim.job_id) as watch:
            while True:
                await watch.wait(GLANCE_SECONDS * RENEWALS)
                with suppress(DatabaseUnavailable):
                    held = await self._ledger.held([attempt.claim])
                    if attempt.claim.job_id in held:
                        attempt.see(held[attempt.claim.job_id])

    # Leases.

    async def _heartbeat(self) -> None:
        """Renew all leases together. While the database is away nothing is renewed, and the children's alarms run."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / RENEWALS)
            attempts = dict(self._attempts)
            try:
                states = await self._ledger.renew([attempt.claim for attempt in attempts.values()])
            except DatabaseUnavailable as error:
                _log.warning("no lease could be renewed: %s", error)
                continue
            for job_id, attempt in attempts.items():
                if self._attempts.get(job_id) is not attempt:
                    continue  # ended meanwhile
                if job_id in states:
                    attempt.renewed(states[job_id])
                else:
                    attempt.lost()

    async def _sweep(self) -> None:
        """Release what the dead have held: by lease, and at once for owners of this host whose lock is free."""
        while True:
            try:
                for owner in await self._ledger.owners():
                    if owner != self.owner and locks.is_free(self._places.owner_lock(owner)):
                        await self._ledger.lose_owner(owner)
                        self._places.owner_lock(owner).unlink(missing_ok=True)
                await self._ledger.sweep()
                await self._remove_ended()
            except DatabaseUnavailable as error:
                _log.warning("not swept: %s", error)
            await asyncio.sleep(self._settings.lease_seconds / RENEWALS)

    async def _remove_ended(self) -> None:
        """Folders of jobs that are over: their outputs are in the store."""
        if not self._places.jobs.is_dir():
            return
        here = [path.name for path in self._places.jobs.iterdir() if path.name not in self._attempts]
        states = await self._ledger.states_of(here)
        for job_id, state in states.items():
            if state in TERMINAL:
                await asyncio.to_thread(shutil.rmtree, self._places.job(job_id), True)

    async def _keep_warm(self) -> None:
        """A fork server that is ready before the next job, also after one has died."""
        while True:
            try:
                await self.nursery.warm_up()
            except RuntimeError as error:
                _log.error("%s", error)
            await asyncio.sleep(AWAY_SECONDS)
