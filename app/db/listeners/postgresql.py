"""Signals on PostgreSQL: NOTIFY."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.postgresql import listening
from app.db.signals import Subscriptions

_RETRY_SECONDS = 0.5
_PROBE_SECONDS = 15.0

log = logging.getLogger(__name__)


@asynccontextmanager
async def _opened(opening: Coroutine[Any, Any, AsyncConnection[Any]]) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection that is always closed.

    Opening is never cancelled: psycopg leaks a connection that is cancelled between connecting and LISTEN.
    """
    task = asyncio.ensure_future(opening)
    try:
        connection = await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(psycopg.Error, OSError):
            await (await task).close()
        raise
    try:
        yield connection
    finally:
        await connection.close()


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
