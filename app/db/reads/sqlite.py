"""Reads on SQLite: short statements at once, others as one call in a thread.

The asynchronous driver calls its thread for every cursor, statement, result and end of a transaction. One call to a
thread takes 70 µs of processor time, a row by its key 4 µs (decision 0150).
"""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import URL

from app.db.failures import unavailable
from app.db.reads.query import Query, Row, Values
from app.db.sqlite import BUSY_SECONDS

SHORT_STEPS: Final = 10_000
"""Instructions of SQLite's machine, less than 1 ms, after which a statement is interrupted and repeated in a thread. A
page of 50 jobs has 2000. SQLite counts on over the uses of a cached statement, so that a short one is interrupted now
and then.
"""
_THREADS: Final = 4


class SqliteReads:
    """Connections that cannot write. Every statement sees what is committed."""

    def __init__(self, url: URL) -> None:
        self._url = url
        (self._file,), self._options = url.get_dialect()().create_connect_args(url)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sqlite-read")
        self._own = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._short: sqlite3.Connection | None = None
        self._connecting = asyncio.Lock()  # first reads come together, and each connection takes three descriptors

    async def fetch(self, query: Query[Row], values: Values) -> list[Row]:
        """The rows. Raises DatabaseUnavailable."""
        compiled = query.compiled("sqlite")
        given = {**compiled.constants, **values}
        loop = asyncio.get_running_loop()
        try:
            short = self._short or await self._connected_once()
            found = short.execute(compiled.text, given).fetchall()
        except sqlite3.OperationalError:  # it is longer, or would have to wait for another process
            try:
                found = await loop.run_in_executor(self._threads, self._fetch, compiled.text, given)
            except sqlite3.OperationalError as error:
                raise unavailable(error, self._url) from error
        return query.rows(compiled, found)

    def _fetch(self, text: str, values: Values) -> list[tuple[Any, ...]]:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._connected(BUSY_SECONDS)
            self._own.connection = connection
        return connection.execute(text, values).fetchall()

    async def _connected_once(self) -> sqlite3.Connection:
        async with self._connecting:
            if self._short is None:
                loop = asyncio.get_running_loop()
                self._short = await loop.run_in_executor(self._threads, self._connected_for_short)
            return self._short

    def _connected_for_short(self) -> sqlite3.Connection:
        connection = self._connected(0)
        connection.set_progress_handler(lambda: 1, SHORT_STEPS)
        return connection

    def _connected(self, wait_seconds: float) -> sqlite3.Connection:
        ours = {"isolation_level": None, "timeout": wait_seconds, "check_same_thread": False}
        connection: sqlite3.Connection = sqlite3.connect(self._file, **{**self._options, **ours})
        self._open.append(connection)
        connection.execute("PRAGMA query_only=ON")
        return connection

    async def close(self) -> None:
        """Close every connection."""
        self._threads.shutdown(wait=True)
        for connection in self._open:
            connection.close()
        self._open.clear()
