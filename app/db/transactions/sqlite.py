"""Transactions on SQLite: statements in the event loop, as they write memory alone, and the commit in a thread.

A statement in a thread gives Python's lock away and takes it back, for which it waits up to 5 ms
(`sys.getswitchinterval`) while the event loop is at work, and a transaction has about ten.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import URL

from app.db.clock import register_sqlite_clock
from app.db.errors import DatabaseUnavailable
from app.db.reads.pipeline import Call, Rows
from app.db.reads.query import Query
from app.db.signals import Subscriptions
from app.db.sqlite import BUSY_SECONDS, DURABLE, SIGNAL, WAL, begun, old_signals
from app.db.transactions.steps import Last, Steps, T

R = TypeVar("R")


class SqliteTransactions:
    """A connection for transactions without a session. Its caller holds the process' lock of writers."""

    def __init__(self, url: URL, subscriptions: Subscriptions) -> None:
        (self._file,), self._options = url.get_dialect()().create_connect_args(url)
        self._subscriptions = subscriptions
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-commit")
        self._connection: sqlite3.Connection | None = None

    async def run(self, make: Callable[[], Steps[T]]) -> T:
        """Carry out the steps. Raises what they raise, and DatabaseUnavailable."""
        try:
            if self._connection is None:
                self._connection = await self._in_thread(self._connected)
            connection = self._connection
            await begun(partial(connection.execute, "BEGIN IMMEDIATE"))
            try:
                return await self._carried_out(connection, make())
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise DatabaseUnavailable(str(error)) from error

    async def _carried_out(self, connection: sqlite3.Connection, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while not isinstance(step, Last):
                step = steps.send(_executed(connection, step))
        except StopIteration as end:
            connection.execute("ROLLBACK")
            nothing: T = end.value
            return nothing
        _executed(connection, step.calls)
        number = _signal(connection, step.names)
        with self._subscriptions.committing(number):
            await self._committed(connection)
        self._subscriptions.notify(step.names)
        try:
            steps.send([])
        except StopIteration as end:
            result: T = end.value
            return result
        raise RuntimeError("expected no step after the last one")

    async def _committed(self, connection: sqlite3.Connection) -> None:
        """Not cancelled halfway: the connection is used by its thread until the commit has ended."""
        commit = asyncio.ensure_future(self._in_thread(connection.commit))
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            await asyncio.wait([commit])
            raise

    async def _in_thread(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _connected(self) -> sqlite3.Connection:
        ours = {"isolation_level": None, "timeout": BUSY_SECONDS, "check_same_thread": False}
        connection: sqlite3.Connection = sqlite3.connect(self._file, **{**self._options, **ours})
        register_sqlite_clock(connection)
        for pragma in (WAL, *DURABLE, "PRAGMA busy_timeout=0"):
            connection.execute(pragma)
        return connection

    async def close(self) -> None:
        """Close the connection."""
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _executed(connection: sqlite3.Connection, calls: Sequence[Call]) -> list[Rows]:
    rows: list[Rows] = []
    for statement, values in calls:
        compiled = statement.compiled("sqlite")
        found = connection.execute(compiled.text, compiled.named(values))
        rows.append(statement.rows(compiled, found) if isinstance(statement, Query) else [])
    return rows


def _signal(connection: sqlite3.Connection, names: Sequence[str]) -> int:
    number = connection.execute(SIGNAL, (" ".join(names),)).lastrowid
    assert number is not None
    old = old_signals(number)
    if old is not None:
        connection.execute(*old)
    return number
