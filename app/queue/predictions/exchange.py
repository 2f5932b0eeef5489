"""The API's side: many requests wait for their answers, one task writes and reads for all of them.

Requests that come together are inserted in one transaction, and answers are read by one query, so that 64 clients cost
hardly more than one. The task runs only while there is something to wait for.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from app.contracts.wire.predictions import Question
from app.db.engine import Database
from app.db.errors import DatabaseUnavailable
from app.db.ids import uuid7
from app.db.signals import Watch
from app.queue.predictions import asking, owners
from app.queue.predictions.budget import Budget
from app.queue.predictions.records import Answered, NewPrediction

_POLL_SECONDS = 1.0
"""Longest time between two looks, in case every signal is lost."""
_SERVED_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Exchange:
    """One per API process and event loop. `seconds` is how long a request may wait for its answer."""

    def __init__(self, database: Database, seconds: float) -> None:
        self.seconds = seconds
        self.budget = Budget()
        self._database = database
        self._asker = f"asker-{uuid7()}"
        self._new: dict[str, NewPrediction] = {}
        self._waiting: dict[str, asyncio.Future[Answered]] = {}
        self._ended: set[str] = set()
        """Ids of rows that no request waits for any longer, and that are still in the table."""
        self._holders: set[str] = set()
        """Ids of rows whose body others share that are still waited for."""
        self._served_until = 0.0
        self._watch: Watch | None = None
        self._task: asyncio.Task[None] | None = None

    async def ask_of(self, project_id: str, questions: Sequence[Question], body: bytes) -> list[Answered | None]:
        """The answer to each question about the same rows, which are stored once. As `ask`."""
        first = f"prd_{uuid7()}"
        own = NewPrediction(project_id, questions[0], body)
        others = {f"prd_{uuid7()}": replace(own, question=each, body=b"", body_of=first) for each in questions[1:]}
        self._holders.add(first)
        try:
            return await self._ask({first: own, **others})
        finally:
            self._holders.discard(first)

    async def ask(self, new: Sequence[NewPrediction]) -> list[Answered | None]:
        """The answer to each request; None where there is none in time. Raises DatabaseUnavailable."""
        return await self._ask({f"prd_{uuid7()}": each for each in new})

    async def _ask(self, asked: dict[str, NewPrediction]) -> list[Answered | None]:
        loop = asyncio.get_running_loop()
        futures = {identity: loop.create_future() for identity in asked}
        self._new |= asked
        self._waiting |= futures
        self._wake()
        try:
            done, _ = await asyncio.wait(futures.values(), timeout=self.seconds)
            for error in filter(None, [future.exception() for future in done]):
                raise error
            return [future.result() if future in done else None for future in futures.values()]
        finally:
            for identity in asked:
                if self._waiting.pop(identity, None) is not None and self._new.pop(identity, None) is None:
                    self._ended.add(identity)

    async def is_served(self) -> bool:
        """Whether a worker that is alive answers predictions, as of a second ago at most."""
        now = asyncio.get_running_loop().time()
        if self._served_until > now:
            return True
        async with self._database.read() as session:
            served = await owners.is_served(session)
        if served:  # requests that began earlier may come here later
            self._served_until = max(self._served_until, now + _SERVED_SECONDS)
        return served

    async def close(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="predictions")
        if self._watch is not None:
            self._watch.notify()

    async def _run(self) -> None:
        """Write and read until nothing is new, waited for or left in the table."""
        with self._database.watch(self._asker, urgent=True) as self._watch:
            try:
                quiet = False
                while self._new or self._waiting or self._ended:
                    try:
                        asked = set(self._waiting) - set(self._new)
                        await self._write(remove=quiet and not self._waiting)
                        if asked:  # nothing is answered as soon as it is asked
                            await self._read()
                    except DatabaseUnavailable as error:
                        _log.warning("predictions wait: %s", error)
                        await asyncio.sleep(_POLL_SECONDS)
                    if self._new or self._waiting or self._ended:
                        quiet = not await self._watch.wait(_POLL_SECONDS)
            finally:
                self._watch = None

    async def _write(self, *, remove: bool) -> None:
        """Insert what is new, and delete what has ended: in the same transaction, or with `remove` alone."""
        new, self._new = self._new, {}
        ended = self._ended - self._holders
        if not new and not (remove and ended):
            return
        try:
            async with self._database.write() as session:
                if new:
                    await asking.insert(session, self._asker, new, self.seconds)
                if ended:
                    await asking.remove(session, ended)
        except DatabaseUnavailable as error:
            for identity in new:
                self._settle(identity, error)
            raise
        self._ended -= ended

    async def _read(self) -> None:
        async with self._database.read() as session:
            found = await asking.answered(session, self._asker, self._ended)
        for identity, answer in found.items():
            self._settle(identity, answer)

    def _settle(self, identity: str, outcome: Answered | DatabaseUnavailable) -> None:
        """Give a waiter its answer, or an error; the row can go."""
        self._ended.add(identity)
        future = self._waiting.pop(identity, None)
        if future is None or future.done():
            return
        if isinstance(outcome, Answered):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
