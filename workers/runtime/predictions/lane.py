"""The lane `predict` of a worker: claims requests, has them answered by warm sessions, writes the answers."""

import asyncio
import logging
import shutil
from contextlib import suppress
from functools import partial

from app.contracts.wire.predictions import Reply
from app.db.engine import Database
from app.db.errors import DatabaseUnavailable
from app.db.signals import Watch
from app.queue.predictions import answering, owners
from app.queue.predictions.records import PREDICTIONS, Answered, ClaimedPrediction
from app.settings import Settings
from app.storage.errors import StorageError
from app.storage.store import DigestMismatch
from workers.runtime import locks
from workers.runtime.child.pool import NoForkServer
from workers.runtime.disk.inputs import InputCache
from workers.runtime.paths import Paths
from workers.runtime.predictions.orders import session_order
from workers.runtime.predictions.session import SessionEnded
from workers.runtime.predictions.sessions import Sessions

MOST_CLAIMED = 128
"""Requests that one worker has at a time; others are for other workers, or wait."""
POLL_SECONDS = 2.0
"""Longest time between two looks at the requests, in case every signal is lost."""
ERROR_PAUSE_SECONDS = 1.0
_log = logging.getLogger("stillhouse.worker")


class PredictLane:
    """One per worker that has the lane. `run` returns when it has drained."""

    def __init__(
        self, settings: Settings, database: Database, cache: InputCache, sessions: Sessions, owner: str
    ) -> None:
        self._settings = settings
        self._drain_seconds = settings.drain_seconds
        self._database = database
        self._cache = cache
        self._owner = owner
        self._paths = Paths(settings.data_dir)
        self._sessions = sessions
        self._running: dict[str, asyncio.Task[None]] = {}
        self._answers: list[tuple[ClaimedPrediction, Answered]] = []
        self._answered = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self._registered = asyncio.Event()
        self._draining = asyncio.Event()
        self._work = Watch()

    async def run(self) -> None:
        """Answer requests until `drain` is called and those that were claimed are answered."""
        writer = asyncio.create_task(self._write_answers())
        try:
            await self._claim_all()
            if self._running:
                await asyncio.wait(self._running.values(), timeout=self._drain_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._drain_seconds):
                    await self._written.wait()
        finally:
            for task in (writer, *self._running.values()):
                task.cancel()
            await asyncio.gather(writer, *self._running.values(), return_exceptions=True)
            await self._sessions.close()
            await asyncio.to_thread(shutil.rmtree, self._paths.sessions / self._owner, ignore_errors=True)
            await self._leave()

    def drain(self, *, now: bool = False) -> None:
        """Claim no more; with `now` leave what is not answered to other workers."""
        self._draining.set()
        if now:
            self._drain_seconds = 0.0
            for task in self._running.values():
                task.cancel()

    async def maintain(self) -> None:
        """Renew the lease, free what dead workers had, end idle sessions, remove folders of dead ones."""
        if self._draining.is_set():
            return
        await owners.renew(self._database, self._owner, self._settings.lease_seconds)
        self._registered.set()
        await owners.sweep(self._database)
        await self._sessions.close_idle(self._settings.prediction_idle_seconds)
        await asyncio.to_thread(_remove_dead_sessions, self._paths)

    async def _leave(self) -> None:
        try:
            await owners.leave(self._database, self._owner)
        except DatabaseUnavailable as error:
            _log.warning("the lease of predictions will expire: %s", error)

    async def _claim_all(self) -> None:
        draining = asyncio.ensure_future(self._draining.wait())
        registered = asyncio.ensure_future(self._registered.wait())  # without a lease, others would take the requests
        await asyncio.wait({draining, registered}, return_when=asyncio.FIRST_COMPLETED)
        registered.cancel()
        with self._database.watch(PREDICTIONS, urgent=True) as self._work:
            while not draining.done():
                room = min(MOST_CLAIMED - len(self._running), answering.MOST_AT_ONCE)
                try:
                    claimed = await answering.claim(self._database, self._owner, room) if room else []
                except Exception as error:
                    _log.warning("predictions wait: %s", error, exc_info=not isinstance(error, DatabaseUnavailable))
                    await asyncio.wait({draining}, timeout=ERROR_PAUSE_SECONDS)
                    continue
                for each in claimed:
                    self._running[each.id] = asyncio.create_task(self._answer(each))
                if not room or len(claimed) < room:  # with others the queue may have more
                    waiting = asyncio.ensure_future(self._work.wait(POLL_SECONDS))
                    await asyncio.wait({draining, waiting}, return_when=asyncio.FIRST_COMPLETED)
                    waiting.cancel()
        draining.cancel()

    async def _answer(self, claimed: ClaimedPrediction) -> None:
        """Answer one request, whatever happens to it."""
        question = claimed.question
        order = partial(session_order, self._database, self._cache, question, self._settings.threads)
        try:
            answer = await self._sessions.answer(question, claimed.body, claimed.seconds, order)
        except SessionEnded as error:
            answer = _unavailable(error.code, error.detail)
        except TimeoutError:
            answer = _unavailable("prediction_timeout", "other requests took all of the time: send it again later")
        except (NoForkServer, DatabaseUnavailable, StorageError, DigestMismatch, OSError) as error:
            _log.warning("a prediction failed: %s", error)
            answer = _unavailable("prediction_failed", "the worker could not load the model: send it again later")
        except Exception:
            _log.exception("a prediction failed")
            answer = _unavailable("prediction_failed", "the worker failed on this request: its log says more")
        if len(self._running) == MOST_CLAIMED:
            self._work.notify()
        self._running.pop(claimed.id, None)
        self._answers.append((claimed, answer))
        self._written.clear()
        self._answered.set()

    async def _write_answers(self) -> None:
        """Write the answers that there are in one transaction, then those that came meanwhile."""
        while True:
            await self._answered.wait()
            self._answered.clear()
            answers = list(self._answers)
            try:
                await answering.answer(self._database, self._owner, answers)
            except DatabaseUnavailable as error:
                _log.warning("answers wait: %s", error)
                await asyncio.sleep(ERROR_PAUSE_SECONDS)
                self._answered.set()
                continue
            except Exception:
                _log.exception("answers are lost")
            del self._answers[: len(answers)]
            if not self._answers:
                self._written.set()


def _unavailable(code: str, detail: str) -> Answered:
    return Answered(Reply(status=503, code=code, detail=detail))


def _remove_dead_sessions(paths: Paths) -> None:
    """Remove the folders of workers that are dead, whose locks are free or gone. Their children are dead as well."""
    for folder in paths.sessions.glob("*"):
        lock = paths.owner_lock(folder.name)
        if not lock.exists() or locks.is_free(lock):
            shutil.rmtree(folder, ignore_errors=True)
