"""Transactions on SQLite: those of several callers are one, which runs in the event loop and commits in a thread.

The event loop comes round to the end of a call in a thread after everything else that it has to do. With many requests
that takes longer than a commit, so nothing but the commit waits for it, and what has arrived meanwhile is committed
together. Each caller's part is a savepoint: one that fails leaves nothing.
"""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from app.db.reads.pipeline import Call, Rows
from app.db.reads.query import Query
from app.db.signals import Subscriptions, announced_names, is_for_all
from app.db.sqlite import driver_of, write_signal
from app.db.transactions.steps import Last, Steps, T

R = TypeVar("R")
_MOST_SECONDS: Final = 0.05
"""After which a transaction is committed although others wait: they hold up the event loop, and other processes."""


class _Group:
    """A transaction that is open."""

    def __init__(self, connection: AsyncConnection, driver: sqlite3.Connection) -> None:
        self.connection = connection
        self.driver = driver
        self.written: set[str] = set()
        """Signals for all watches, which are written for other processes."""
        self.signalled: set[str] = set()
        """All signals."""

    def signal(self, names: Sequence[str], *, is_for_all: bool = True) -> None:
        """Signal these names at the commit."""
        self.signalled.update(names)
        self.written.update(names if is_for_all else ())


class _Part:
    """What one caller does in a transaction, and its result."""

    def __init__(self, work: Callable[[_Group], Awaitable[Any]]) -> None:
        self._work = work
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._result: Any = None
        self.error: Exception | None = None

    async def run(self, group: _Group) -> None:
        """Do it."""
        try:
            self._result = await self._work(group)
        except Exception as error:
            self.error = error

    def end(self, error: Exception | None = None) -> None:
        """Pass on the result or the error, which may be that of the transaction."""
        failed = error or self.error
        if self._done.done():  # the caller was cancelled
            return
        if failed is not None:
            self._done.set_exception(failed)
        else:
            self._done.set_result(self._result)

    def __await__(self) -> Any:
        return self._done.__await__()


class SqliteTransactions:
    """One per process, whose lock of writers `writing` holds during its block."""

    def __init__(
        self,
        engine: AsyncEngine,
        subscriptions: Subscriptions,
        writing: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._engine = engine
        self._subscriptions = subscriptions
        self._writing = writing
        self._waiting: deque[_Part] = deque()
        self._task: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | None = None

    async def run(self, make: Callable[[], Steps[T]]) -> T:
        """Carry out the steps; raises what they raise, and the driver's errors."""

        async def work(group: _Group) -> T:
            return _carried_out(group, make())

        return await self._joined(work)

    async def run_session(self, work: Callable[[AsyncSession], Awaitable[R]]) -> R:
        """Do the work in a session; raises what it raises."""

        async def in_savepoint(group: _Group) -> R:
            mode = "create_savepoint"
            session = AsyncSession(group.connection, expire_on_commit=False, join_transaction_mode=mode)
            try:
                result = await work(session)
                await session.flush()
                group.signal(announced_names(session), is_for_all=is_for_all(session))
                await session.commit()
                return result
            finally:
                await session.close()  # `async with` would do so in a task, and wait for the event loop to come round

        return await self._joined(in_savepoint)

    async def _joined(self, work: Callable[[_Group], Awaitable[R]]) -> R:
        part = _Part(work)
        self._waiting.append(part)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        result: R = await part
        return result

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._together()
        finally:
            self._task = None

    async def _together(self) -> None:
        parts: list[_Part] = []
        try:
            async with self._writing():
                await self._transaction(parts)
        except Exception as error:
            await self._close_connection()
            if not parts:  # it was not begun: nothing can be written now
                parts, self._waiting = list(self._waiting), deque()
            for part in parts:
                part.end(error)
            return
        for part in parts:
            part.end()

    async def _transaction(self, parts: list[_Part]) -> None:
        if self._connection is None:
            self._connection = await self._engine.connect()
        transaction = await self._connection.begin()
        group = _Group(self._connection, await driver_of(self._connection))
        until = time.monotonic() + _MOST_SECONDS
        while self._waiting and time.monotonic() < until:
            parts.append(self._waiting.popleft())
            await parts[-1].run(group)
            if not group.driver.in_transaction:  # SQLite ends it itself where the disk is full
                raise parts[-1].error or RuntimeError("expected a transaction that is still open, found none")
        if group.written:
            number = await write_signal(self._connection, sorted(group.written))
            with self._subscriptions.committing(number):
                await transaction.commit()
        else:
            await transaction.commit()
        self._subscriptions.notify(group.signalled)

    async def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()

    async def close(self) -> None:
        """Close the connection, once the transaction under way has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


def _carried_out(group: _Group, steps: Steps[T]) -> T:
    group.driver.execute("SAVEPOINT steps")
    try:
        result = _result(group, steps)
    except BaseException:
        if group.driver.in_transaction:  # SQLite ends the transaction itself where the disk is full
            group.driver.execute("ROLLBACK TO steps")
            group.driver.execute("RELEASE steps")
        raise
    group.driver.execute("RELEASE steps")
    return result


def _result(group: _Group, steps: Steps[T]) -> T:
    is_over = False
    try:
        step = next(steps)
        while True:
            if isinstance(step, Last):
                _executed(group.driver, step.calls)
                group.signal(step.names)
                is_over = True
                step = steps.send([])
            else:
                step = steps.send(_executed(group.driver, step))
    except StopIteration as end:
        if not is_over:
            group.driver.execute("ROLLBACK TO steps")
        result: T = end.value
        return result


def _executed(driver: sqlite3.Connection, calls: Sequence[Call]) -> list[Rows]:
    rows: list[Rows] = []
    for statement, values in calls:
        compiled = statement.compiled("sqlite")
        found = driver.execute(compiled.text, compiled.named(values))
        rows.append(statement.rows(compiled, found) if isinstance(statement, Query) else [])
    return rows
