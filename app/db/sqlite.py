"""SQLite as a shared database: one writer connection per process, a pool of readers, the lease clock.

A pool of writers causes `database is locked` under load. With one connection and BEGIN IMMEDIATE, processes wait for
SQLite's own lock for up to BUSY_SECONDS.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from app.db.clock import register_sqlite_clock

BUSY_SECONDS = 30
READERS = 8


def writer_engine(url: URL) -> AsyncEngine:
    """The only connection that writes. Its transactions are write transactions from their first statement."""
    return _engine(url, "BEGIN IMMEDIATE", ("PRAGMA journal_mode=WAL",), size=1)


def reader_engine(url: URL) -> AsyncEngine:
    """Connections that cannot write; each transaction sees one snapshot."""
    return _engine(url, "BEGIN", ("PRAGMA query_only=ON",), size=READERS)


class _Connection(aiosqlite.Connection):
    """A statement is one call of the connection's thread, which takes longer than most statements: aiosqlite makes one
    for each cursor, its statement, its rows and its end.
    """

    def __init__(self, file: str, **options: Any) -> None:
        super().__init__(partial(sqlite3.connect, file, **options), iter_chunk_size=64)
        self._thread.daemon = True  # as SQLAlchemy sets it where it makes the connection

    def cursor(self) -> "_Cursor":  # type: ignore[override]  # SQLAlchemy enters it, and so need not await it
        return _Cursor(self, self._conn.cursor())


class _Cursor(aiosqlite.Cursor):
    """Fetches all rows with its statement, and is at its end then."""

    _rows: Iterable[Any] = ()

    async def execute(self, sql: str, parameters: Any = ()) -> "_Cursor":
        def run() -> list[Any]:
            self._cursor.execute(sql, parameters)
            return self._cursor.fetchall() if self._cursor.description else []

        self._rows = await self._execute(run)  # type: ignore[no-untyped-call]
        return self

    async def fetchall(self) -> Iterable[Any]:
        return self._rows

    async def close(self) -> None:
        self._rows = ()


def _engine(url: URL, begin: str, pragmas: tuple[str, ...], size: int) -> AsyncEngine:
    # isolation_level None: the driver begins no transaction itself, so that BEGIN IMMEDIATE is the first statement.
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        connect_args={"isolation_level": None, "timeout": BUSY_SECONDS, "async_creator_fn": _Connection},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        register_sqlite_clock(connection)
        cursor = connection.cursor()
        for pragma in (f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}", *pragmas, *DURABLE):
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


async def write_signal(session: AsyncSession, names: Sequence[str]) -> int:
    """Write the names that a transaction signals; their number, which rises from commit to commit."""
    connection = await session.connection()
    written = await connection.exec_driver_sql(SIGNAL, (" ".join(names),))
    number = int(written.lastrowid)
    old = old_signals(number)
    if old is not None:
        await connection.exec_driver_sql(*old)
    return number


def old_signals(number: int) -> tuple[str, tuple[int]] | None:
    """The statement with its values that deletes old signals, where it is time to, after the signal of this number."""
    if number % _SIGNALS_KEPT:
        return None
    return "DELETE FROM signals WHERE id <= ?", (number - _SIGNALS_KEPT,)


SIGNAL = "INSERT INTO signals (names) VALUES (?)"
_SIGNALS_KEPT = 1024
"""At least. A process that has not read some that are gone wakes all its watches."""
DURABLE = ("PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")
