"""Reads on PostgreSQL: a statement is one message on a connection that commits by itself, and others may follow it.

A session takes three round trips more: the test of its connection, BEGIN and ROLLBACK. Here a connection is not tested:
a read changes nothing, so one that fails because its connection is gone is repeated on another.
"""

import asyncio
from typing import Final

import psycopg
from sqlalchemy import URL

from app.db.failures import unavailable
from app.db.postgresql import connected
from app.db.reads.pipeline import Pipeline, Rows
from app.db.reads.query import Query, Row, Values

_CONNECTIONS: Final = 8
_LATE_SECONDS: Final = 0.005
"""A statement does not follow one that has not been answered for so long, unless all connections are late."""


class PostgresqlReads:
    """Up to eight connections, opened as they are needed."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._open: list[Pipeline] = []
        self._opening: asyncio.Task[Pipeline] | None = None

    async def fetch(self, query: Query[Row], values: Values) -> list[Row]:
        """The rows. Raises DatabaseUnavailable."""
        try:
            return await self._fetch(query, values)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise unavailable(error, self._url) from error

    async def _fetch(self, query: Query[Row], values: Values) -> Rows:
        while (pipeline := self._free()) is not None:
            try:
                return (await pipeline.run([(query, values)]))[0]
            except psycopg.OperationalError:
                if pipeline.is_open:
                    raise
        return (await (await self._opened()).run([(query, values)]))[0]

    def _free(self) -> Pipeline | None:
        """The first connection that is not late; None where another is to be opened."""
        self._open = [each for each in self._open if each.is_open]
        for each in self._open:
            if each.waits() < _LATE_SECONDS:
                return each
        return min(self._open, key=Pipeline.waits) if len(self._open) >= _CONNECTIONS else None

    async def _opened(self) -> Pipeline:
        """A new connection; calls that need one at the same time share it."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open_another())
        return await asyncio.shield(self._opening)

    async def _open_another(self) -> Pipeline:
        try:
            pipeline = Pipeline(await connected(self._url))
            self._open.append(pipeline)
            return pipeline
        finally:
            self._opening = None

    async def close(self) -> None:
        """Close every connection."""
        while self._open:
            await self._open.pop().close()
