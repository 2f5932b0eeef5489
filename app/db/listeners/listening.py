"""Signals of commits by other processes: NOTIFY on PostgreSQL, `PRAGMA data_version` on SQLite."""

import asyncio
import logging
import math
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import PurePath
from typing import Any, Protocol, TypeVar

import aiosqlite
import psycopg
from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.listeners.folder_events import FolderEvents
from app.db.postgresql import listening
from app.db.signals import Subscriptions

POLL_SECONDS = 0.02
UNCOUNTED_SECONDS = 2.0
"""Longest delay until a commit is noticed that does not count its signals: one of a process of an earlier version."""
QUIET_SECONDS = 0.2
"""Longest time between two looks while the kernel tells of writes and there are none."""
ALERT_SECONDS = 1.0
"""How long after a write to look as often as without the kernel: a slow disk makes it visible late."""
_SOON_SECONDS = 0.001
_SOON_POLLS = 12
"""How often to look again after a write to the files: what is written is visible once it is on disk."""
_RETRY_SECONDS = 0.5
_PROBE_SECONDS = 15.0

log = logging.getLogger(__name__)


async def poll_sqlite(readers: AsyncEngine, subscriptions: Subscriptions, wanted: asyncio.Event) -> None:
    """Notify all watches when any connection of any process has committed signals. Polls only while there are watches.

    Reading `data_version` reads shared memory, not the file, and takes tens of microseconds. It changes on commits of
    other connections, so the polling connection never writes and stays the same one; `user_version` counts those with
    signals for more than urgent watches (`sqlite.count_signal`). Watches of the names that
    this process signals are woken at its commit; if no other process has raised the count since, the other watches are
    not woken. While a watch is urgent, the database is polled as soon as the kernel reports a write in its folder.
    """
    while True:
        try:
            async with _opened(_connect(readers)) as connection:
                events = FolderEvents(PurePath(readers.url.database or "").parent)
                try:
                    await _poll(connection, events, subscriptions, wanted)
                finally:
                    events.close()
        except sqlite3.Error as error:
            log.warning("cannot watch the database for changes, trying again: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            subscriptions.notify_all()


class _Closable(Protocol):
    async def close(self) -> None: ...


_Connection = TypeVar("_Connection", bound=_Closable)


@asynccontextmanager
async def _opened(opening: Coroutine[Any, Any, _Connection]) -> AsyncIterator[_Connection]:
    """A connection that is always closed.

    Opening is never cancelled: both drivers leak a connection if opening it is cancelled, aiosqlite with its thread,
    psycopg between connecting and LISTEN.
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


async def _connect(readers: AsyncEngine) -> aiosqlite.Connection:
    arguments, options = readers.dialect.create_connect_args(readers.url)
    return await aiosqlite.connect(*arguments, isolation_level=None, **options)


async def _poll(
    connection: aiosqlite.Connection, events: FolderEvents, subscriptions: Subscriptions, wanted: asyncio.Event
) -> None:
    clock = asyncio.get_running_loop().time
    seen: object = None
    signals = -1
    unsaid = math.inf
    """When the first commit was noticed that only urgent watches were told of."""
    soon = 0
    alert_until = math.inf if not events.are_told else clock() + ALERT_SECONDS
    while True:
        if subscriptions.idle:
            wanted.clear()
            await wanted.wait()
        version = await connection.execute_fetchall("PRAGMA data_version")
        if version != seen:
            seen, soon, unsaid = version, 0, min(unsaid, clock())
            subscriptions.notify_urgent()
            ((count,),) = await connection.execute_fetchall("PRAGMA user_version")
            if count != signals and not subscriptions.are_counted_here(signals, count):
                unsaid = -math.inf
            signals = count
        if clock() - unsaid >= UNCOUNTED_SECONDS:
            unsaid = math.inf
            subscriptions.notify_all()
        if not subscriptions.urgent:
            await asyncio.sleep(POLL_SECONDS)
        elif soon:
            soon -= 1
            await asyncio.sleep(_SOON_SECONDS)
        elif await events.wait(POLL_SECONDS if clock() < alert_until else QUIET_SECONDS):
            soon, alert_until = _SOON_POLLS, max(alert_until, clock() + ALERT_SECONDS)


async def listen_postgresql(engine: AsyncEngine, subscriptions: Subscriptions, wanted: asyncio.Event) -> None:
    """Notify the watches of names received by NOTIFY.

    After each reconnect all watches are notified, because signals sent in between are lost.
    """
    await wanted.wait()
    while True:
        try:
            async with _opened(listening(engine)) as connection:
                subscriptions.notify_all()
                await _relay(connection, subscriptions.notify)
        except (psycopg.Error, OSError) as error:
            log.warning("cannot listen to the database, trying again: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            subscriptions.notify_all()


async def _relay(connection: AsyncConnection[Any], notify: Callable[[tuple[str]], None]) -> None:
    while True:
        async for notice in connection.notifies(timeout=_PROBE_SECONDS):
            notify((notice.payload,))
        await connection.execute("SELECT 1")  # detects that the server is gone
