"""Reads on PostgreSQL: a statement is one message on a connection that commits by itself, and others may follow it.

A session takes three round trips more: the test of its connection, BEGIN and ROLLBACK. Here a connection is not tested:
a read changes nothing, so one that fails because its connection is gone is repeated on another.
"""

import asyncio
from typing import Final

import psycopg
from sqlalchemy import URL

from app.db.failures import unavailable
from app.db.postgresql import MOST_READS
from app.db.reads.opening import Opening
from app.db.reads.pipeline import Pipeline, Rows
from app.db.reads.query import Query, Row, Values

_LATE_SECONDS: Final = 0.005
"""A statement does not follow one that has not been answered for so long, unless all connections are late."""


class PostgresqlReads:
    """Up to MOST_READS connections, opened as they are needed."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._opening = Opening(url)
        self._open: list[Pipeline] = []
        self._another: asyncio.Task[Pipeline] | None = None

    async def fetch(self, query: Query[Row], values: Values) -> list[Row]:
        """The rows. Raises DatabaseUnavailable."""
        try:
            return await self._fetch(query, values)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise unavailable(error, self._url) from error

    async def _fetch(self, query: Query[Row], values: Values) -> Rows:
        while True:
            free = self._free()
            pipeline = free or await self._opened()
            if pipeline is None:
                continue
            try:
                return (await pipeline.run([(query, values)]))[0]
            except psycopg.OperationalError:
                if pipeline.is_open or free is None:
                    raise

    def _free(self) -> Pipeline | None:
        """The first connection that is not late, or the least late one; None where another is to be opened."""
        self._open = [each for each in self._open if each.is_open]
        for each in self._open:
            if each.waits() < _LATE_SECONDS:
                return each
        if len(self._open) < MOST_READS and self._opening.seconds_left() <= 0:
            return None
        return min(self._open, key=Pipeline.waits, default=None)

    async def _opened(self) -> Pipeline | None:
        """A new connection; calls that need one at the same time share it. None where the server refuses it and another
        is open.
        """
        if self._another is None:
            self._another = asyncio.create_task(self._open_another())
        try:
            return await asyncio.shield(self._another)
        except psycopg.OperationalError:
            if not any(each.is_open for each in self._open):
                raise
            return None

    async def _open_another(self) -> Pipeline:
        try:
            pipeline = await self._opening.opened()
            self._open.append(pipeline)
            return pipeline
        finally:
            self._another = None

    async def close(self) -> None:
        """Close every connection."""
        while self._open:
            await self._open.pop().close()
