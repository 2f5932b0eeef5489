"""How a process hears of commits made by other processes: NOTIFY on PostgreSQL, `PRAGMA data_version` on SQLite."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

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
            async with _looking(readers) as connection:
                await _poll(connection, board, wanted)
        except sqlite3.Error as error:
            log.warning("cannot watch the database for changes, trying again: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            board.ring_all()


@asynccontextmanager
async def _looking(readers: AsyncEngine) -> AsyncIterator[aiosqlite.Connection]:
    """A connection that is closed in any case.

    aiosqlite forgets the thread of one that is cancelled while it opens, so opening is never cancelled.
    """
    arguments, options = readers.dialect.create_connect_args(readers.url)
    opening = asyncio.ensure_future(_open(aiosqlite.connect(*arguments, isolation_level=None, **options)))
    try:
        yield await asyncio.shield(opening)
    finally:
        await (await opening).close()


async def _open(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    return await connection


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
            connection = await listening(engine)
        except (psycopg.Error, OSError) as error:
            log.warning("cannot listen to the database, trying again: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            board.ring_all()
            continue
        board.ring_all()
        with suppress(psycopg.Error, OSError):
            async with connection:
                await _relay(connection, board.ring)


async def _relay(connection: AsyncConnection[Any], ring: Callable[[tuple[str]], None]) -> None:
    while True:
        async for notice in connection.notifies(timeout=_PROBE_SECONDS):
            ring((notice.payload,))
        await connection.execute("SELECT 1")  # finds out that the server is gone
