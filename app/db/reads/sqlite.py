"""Reads on SQLite: a statement is one call in a thread with a connection of its own.

The asynchronous driver calls its thread for every cursor, statement, result and end of a transaction; each call costs
more than a row by its key.
"""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from sqlalchemy import URL

from app.db.errors import DatabaseUnavailable
from app.db.reads.query import Query, Row, Values
from app.db.sqlite import BUSY_SECONDS

_THREADS: Final = 4


class SqliteReads:
    """Connections that cannot write. Every statement sees what is committed."""

    def __init__(self, url: URL) -> None:
        (self._file,), options = url.get_dialect()().create_connect_args(url)
        self._options: dict[str, Any] = {**options, "isolation_level": None, "timeout": BUSY_SECONDS}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sqlite-read")
        self._own = threading.local()
        self._open: list[sqlite3.Connection] = []

    async def fetch(self, query: Query[Row], values: Values) -> list[Row]:
        """The rows. Raises DatabaseUnavailable."""
        loop, compiled = asyncio.get_running_loop(), query.compiled("sqlite")
        given = {**compiled.constants, **values}
        try:
            found = await loop.run_in_executor(self._threads, self._fetch, compiled.text, given)
        except sqlite3.OperationalError as error:
            raise DatabaseUnavailable(str(error)) from error
        return query.rows(compiled, found)

    def _fetch(self, text: str, values: Values) -> list[tuple[Any, ...]]:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._connected()
            self._own.connection = connection
        return connection.execute(text, values).fetchall()

    def _connected(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3.connect(self._file, **{**self._options, "check_same_thread": False})
        self._open.append(connection)
        connection.execute("PRAGMA query_only=ON")
        return connection

    async def close(self) -> None:
        """Close every connection."""
        self._threads.shutdown(wait=True)
        for connection in self._open:
            connection.close()
        self._open.clear()
