"""How a process hears of commits made by other processes: NOTIFY on PostgreSQL, `PRAGMA data_version` on SQLite."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import aiosqlite
import psycopg
from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.postgresql import listening
from app.db.signals import Board

POLL_SECONDS = 0.02
_RETRY_SECONDS = 0.5
_PROBE_SECONDS = 15.0

log = logging.getLogger(__name__)


async def poll_sqlite(readers: AsyncEngine, board: Board, wanted: asyncio.Event) -> None:
    """Ring everybody when any connection of any process has committed. Looks only while somebody waits.

    `data_version` reads shared memory, not the file: tens of microseconds a look. It changes for the commits of
    other connections, so the connection that looks never writes, and stays the same one.
    """
    while True:
        try:
            async with _opened(_looking(readers)) as connection:
                await _poll(connection, board, wanted)
        except sqlite3.Error as error:
            log.warning("cannot watch the database for changes, trying again: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            board.ring_all()


class _Closable(Protocol):
    async def close(self) -> None: ...


_Connection = TypeVar("_Connection", bound=_Closable)


@asynccontextmanager
async def _opened(opening: Coroutine[Any, Any, _Connection]) -> AsyncIterator[_Connection]:
    """A connection that is closed in any case.

    Opening is never cancelled: both drivers forget a connection whose opener was cancelled half way, aiosqlite
    with its thread, psycopg between connecting and LISTEN.
    """
    task = asyncio.ensure_future(opening)
    try:
        connection = await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(psycopg.Error, sqlite3.Error, OSError):
            await (await task).close()
        raise
    try:
        yield connection
    finally:
        await connection.close()


async def _looking(readers: AsyncEngine) -> aiosqlite.Connection:
    arguments, options = readers.dialect.create_connect_args(readers.url)
    return await aiosqlite.connect(*arguments, isolation_level=None, **options)


async def _poll(connection: aiosqlite.Connection, board: Board, wanted: asyncio.Event) -> None:
    seen: object = None
    while True:
        if board.idle:
            wanted.clear()
            await wanted.wait()
        version = await connection.execute_fetchall("PRAGMA data_version")
        if version != seen:
            seen = version
            board.ring_all()
        await asyncio.sleep(POLL_SECONDS)


async def listen_postgresql(engine: AsyncEngine, board: Board, wanted: asyncio.Event) -> None:
    """Ring the names that NOTIFY brings.

    Whenever the connection is made anew everybody is rung: what was said in between is lost.
    """
    await wanted.wait()
    while True:
        try:
            async with _opened(listening(engine)) as connection:
                board.ring_all()
                await _relay(connection, board.ring)
        except (psycopg.Error, OSError) as error:
            log.warning("cannot listen to the database, trying again: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            board.ring_all()


async def _relay(connection: AsyncConnection[Any], ring: Callable[[tuple[str]], None]) -> None:
    while True:
        async for notice in connection.notifies(timeout=_PROBE_SECONDS):
            ring((notice.payload,))
        await connection.execute("SELECT 1")  # finds out that the server is gone
