"""Transactions on PostgreSQL: the statements of a step are one message, and the last ones are sent with the commit."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import psycopg
from sqlalchemy import String, bindparam, func, select, text, type_coerce
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.failures import unavailable
from app.db.postgresql import CHANNEL, MOST_TRANSACTIONS
from app.db.reads.opening import Opening
from app.db.reads.pipeline import Call, Pipeline
from app.db.reads.query import Query, Statement
from app.db.signals import Subscriptions
from app.db.transactions.commits import was_done
from app.db.transactions.steps import Last, Steps, T

_log = logging.getLogger(__name__)

_BEGIN: Final[Call] = (Statement(text("BEGIN")), {})
_COMMIT: Final[Call] = (Statement(text("COMMIT")), {})
_ROLLBACK: Final[Call] = (Statement(text("ROLLBACK")), {})
_NUMBER: Final[Call] = (Query(tuple, select(type_coerce(text("CAST(pg_current_xact_id() AS text)"), String))), {})
_NAMES: Final = func.unnest(func.string_to_array(bindparam("names", type_=String()), " ")).alias("name")
_NOTIFY: Final = Statement(select(func.count(func.pg_notify(CHANNEL, _NAMES.column))))


class PostgresqlTransactions:
    """Up to MOST_TRANSACTIONS connections for transactions without a session, opened as needed. Each is for one
    transaction at a time.
    """

    def __init__(self, engine: AsyncEngine, subscriptions: Subscriptions) -> None:
        self._engine = engine
        self._subscriptions = subscriptions
        self._free = asyncio.Semaphore(MOST_TRANSACTIONS)
        self._opening = Opening(engine.url)
        self._idle: list[Pipeline] = []
        self._taken_or_opening = 0
        self._given_back = asyncio.Event()

    async def run(self, make: Callable[[], Steps[T]]) -> T:
        """Carry out the steps; on another connection once more if theirs was gone before the last were sent.

        If it fails at the commit, the commit check tells if that was done (`commits`). Raises what the steps raise, and
        DatabaseUnavailable.
        """
        async with self._free:
            return await self._run(make)

    async def _run(self, make: Callable[[], Steps[T]]) -> T:
        try:
            while True:
                pipeline, is_new = await self._taken()
                attempt = _Attempt(pipeline, self._engine)
                self._taken_or_opening += 1
                try:
                    return await self._tried(attempt, make())
                except psycopg.OperationalError:
                    if is_new or pipeline.is_open or attempt.last is not None:
                        raise
                finally:
                    self._give_back(pipeline)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise unavailable(error, self._engine.url) from error

    async def _taken(self) -> tuple[Pipeline, bool]:
        """An idle connection, or a new one (True). Where the server refuses it, one that a transaction gives back."""
        while True:
            if self._idle:
                return self._idle.pop(), False
            seconds = self._opening.seconds_left()
            if self._taken_or_opening and seconds > 0:
                self._given_back.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._given_back.wait(), seconds)
                continue
            self._taken_or_opening += 1
            try:
                return await self._opening.opened(), True
            except psycopg.OperationalError:
                if self._taken_or_opening == 1 and not self._idle:
                    raise
            finally:
                self._taken_or_opening -= 1
                self._given_back.set()

    def _give_back(self, pipeline: Pipeline) -> None:
        self._taken_or_opening -= 1
        if pipeline.is_open:
            self._idle.append(pipeline)
        self._given_back.set()

    async def _tried(self, attempt: "_Attempt", steps: Steps[T]) -> T:
        try:
            result = await attempt.carry_out(steps)
        except Exception:
            await attempt.roll_back()
            raise
        except BaseException:
            await attempt.pipeline.close()
            raise
        if attempt.last is not None:
            self._subscriptions.notify(attempt.last.names)
        return result

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            await self._idle.pop().close()


class _Attempt:
    """A transaction on a connection. `last` is set as soon as it may be committed."""

    def __init__(self, pipeline: Pipeline, engine: AsyncEngine) -> None:
        self.pipeline = pipeline
        self.last: Last | None = None
        self._engine = engine
        self._number: str | None = None

    async def carry_out(self, steps: Steps[T]) -> T:
        """The result of the steps, which are committed if they have a last one."""
        try:
            step = next(steps)
            while not isinstance(step, Last):
                step = steps.send(await self._run(step))
            await self._commit(step)
            steps.send([])
        except StopIteration as end:
            if self.last is None:
                await self.roll_back()
            result: T = end.value
            return result
        raise RuntimeError("expected no step after the last one")

    async def _run(self, calls: Sequence[Call]) -> list[list[object]]:
        if self._number is not None:
            return await self.pipeline.run(calls)
        found = await self.pipeline.run([_BEGIN, *calls, _NUMBER])
        ((self._number,),) = found.pop()
        return found[1:]

    async def _commit(self, last: Last) -> None:
        begin = [] if self._number is not None else [_BEGIN]
        self.last = last
        try:
            await self.pipeline.run([*begin, *last.calls, (_NOTIFY, {"names": " ".join(last.names)}), _COMMIT])
        except psycopg.OperationalError as error:
            if self.pipeline.is_open or self._number is None:
                raise
            if not await was_done(self._engine, self._number, last.proof()):
                raise
            _log.warning("the response to a commit was lost (%s); it was done", type(error).__name__)

    async def roll_back(self) -> None:
        """End the transaction; the connection is closed if that fails."""
        if self.pipeline.is_open:
            try:
                await self.pipeline.run([_ROLLBACK])
            except psycopg.Error:
                with suppress(psycopg.Error):
                    await self.pipeline.close()
