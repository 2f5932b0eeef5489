"""Reads on PostgreSQL: a statement is one round trip on a connection that commits by itself.

A session takes three more: the test of its connection, BEGIN and ROLLBACK. Here a connection is not tested: a read
changes nothing, so one that fails because its connection is gone is repeated on a new one.
"""

import asyncio
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import URL

from app.db.failures import unavailable
from app.db.postgresql import connected
from app.db.reads.query import Query, Row, Values

_CONNECTIONS: Final = 8


class PostgresqlReads:
    """Up to eight connections, opened as they are needed. The driver prepares a statement that is repeated."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._idle: list[AsyncConnection[TupleRow]] = []

    async def fetch(self, query: Query[Row], values: Values) -> list[Row]:
        """The rows. Raises DatabaseUnavailable."""
        compiled = query.compiled("postgresql")
        async with self._free:
            try:
                found = await self._fetch(compiled.text.encode(), {**compiled.constants, **values})
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                raise unavailable(error, self._url) from error
        return query.rows(compiled, found)

    async def _fetch(self, text: bytes, values: Values) -> list[tuple[Any, ...]]:
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._fetch_on(connection, text, values)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                if not connection.closed:
                    raise
        return await self._fetch_on(await connected(self._url), text, values)

    async def _fetch_on(
        self, connection: AsyncConnection[TupleRow], text: bytes, values: Values
    ) -> list[tuple[Any, ...]]:
        """The rows by this connection, which is idle again after success and closed after a failure."""
        try:
            cursor = await connection.execute(text, values)
            found = await cursor.fetchall()
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return found

    async def close(self) -> None:
        """Close every connection."""
        while self._idle:
            await self._idle.pop().close()
