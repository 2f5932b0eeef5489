"""SQLite as a shared database: one writer at a time per process, a pool of readers, the lease clock.

A pool of writers causes `database is locked` under load. With one writer and BEGIN IMMEDIATE, processes wait for
SQLite's own lock for up to BUSY_SECONDS.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.db.clock import register_sqlite_clock

BUSY_SECONDS = 30
READERS = 8
_PAUSE_SECONDS = 0.001


def writer_engine(url: URL) -> AsyncEngine:
    """A connection that writes. Its transactions are write transactions from their first statement."""
    return _engine(url, "BEGIN IMMEDIATE", (WAL,), size=1, make=_Connection)


def short_writer_engine(url: URL) -> AsyncEngine:
    """The same for transactions of a few rows: their statements run in the event loop, as they write memory alone, and
    their commit in a thread.

    A statement in a thread ends when the event loop comes round to it. With many requests that takes longer than a
    commit, and others wait for the writer meanwhile.
    """
    return _engine(url, "BEGIN IMMEDIATE", (WAL,), size=2, make=_ShortConnection)


def reader_engine(url: URL) -> AsyncEngine:
    """Connections that cannot write; each transaction sees one snapshot."""
    return _engine(url, "BEGIN", ("PRAGMA query_only=ON",), size=READERS, make=_Connection)


class _Connection(aiosqlite.Connection):
    """A statement is one call of the connection's thread, which takes longer than most statements: aiosqlite makes one
    for each cursor, its statement, its rows and its end.
    """

    def __init__(self, file: str, **options: Any) -> None:
        super().__init__(partial(sqlite3.connect, file, **options), iter_chunk_size=64)
        self._thread.daemon = True  # as SQLAlchemy sets it where it makes the connection

    def cursor(self) -> "_Cursor":  # type: ignore[override]  # SQLAlchemy enters it, and so need not await it
        return _Cursor(self, self._conn.cursor())


class _ShortConnection(_Connection):
    """A statement runs at once, in the event loop."""

    def __init__(self, file: str, **options: Any) -> None:
        super().__init__(file, **{**options, "timeout": 0, "check_same_thread": False})

    @property
    def driver(self) -> sqlite3.Connection:
        """The connection of the standard library."""
        return self._conn

    def cursor(self) -> "_Cursor":  # type: ignore[override]  # as that of _Connection
        return _ShortCursor(self, self._conn.cursor())


class _Cursor(aiosqlite.Cursor):
    """Fetches all rows with its statement, and is at its end then."""

    _rows: Iterable[Any] = ()

    async def execute(self, sql: str, parameters: Any = ()) -> "_Cursor":
        self._rows = await self._done(partial(self._run, sql, parameters))
        return self

    def _run(self, sql: str, parameters: Any) -> list[Any]:
        self._cursor.execute(sql, parameters)
        return self._cursor.fetchall() if self._cursor.description else []

    async def _done(self, run: Callable[[], list[Any]]) -> list[Any]:
        rows: list[Any] = await self._execute(run)  # type: ignore[no-untyped-call]  # aiosqlite's is not annotated
        return rows

    async def fetchall(self) -> Iterable[Any]:
        return self._rows

    async def close(self) -> None:
        self._rows = ()


class _ShortCursor(_Cursor):
    async def _done(self, run: Callable[[], list[Any]]) -> list[Any]:
        try:
            return run()
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        rows: list[Any] = await self._execute(partial(_when_free, run))  # type: ignore[no-untyped-call]  # as above
        return rows


def _when_free(begin: Callable[[], list[Any]]) -> list[Any]:
    """Begin as soon as no other process writes. In a thread: the event loop of a busy process would come round to try
    again after tens of milliseconds, in which other processes begin again and again; SQLite itself pauses for 100 ms.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return begin()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() >= until:
                raise
        time.sleep(_PAUSE_SECONDS)


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another connection has the lock; the code's upper bits say why, such as a recovery after a crash."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _engine(url: URL, begin: str, pragmas: tuple[str, ...], size: int, make: type[_Connection]) -> AsyncEngine:
    # isolation_level None: the driver begins no transaction itself, so that BEGIN IMMEDIATE is the first statement.
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        connect_args={"isolation_level": None, "timeout": BUSY_SECONDS, "async_creator_fn": make},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        register_sqlite_clock(connection)
        cursor = connection.cursor()
        for pragma in (*pragmas, *DURABLE):
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


async def write_signal(connection: AsyncConnection, names: Sequence[str]) -> int:
    """Write the names that a transaction signals; their number, which rises from commit to commit."""
    written = await connection.exec_driver_sql("INSERT INTO signals (names) VALUES (?)", (" ".join(names),))
    number = int(written.lastrowid)
    if number % _SIGNALS_KEPT == 0:
        await connection.exec_driver_sql("DELETE FROM signals WHERE id <= ?", (number - _SIGNALS_KEPT,))
    return number


async def driver_of(connection: AsyncConnection) -> sqlite3.Connection:
    """The connection itself, of an engine whose statements run in the event loop."""
    pooled = await connection.get_raw_connection()
    own = pooled.driver_connection
    assert isinstance(own, _ShortConnection)
    return own.driver


_SIGNALS_KEPT = 1024
"""At least. A process that has not read some that are gone wakes all its watches."""
WAL = "PRAGMA journal_mode=WAL"
DURABLE = ("PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")
