"""Opening connections of PostgreSQL as they are needed, as long as the server takes them."""

import time
from typing import Final

import psycopg
from sqlalchemy import URL

from app.db.postgresql import connected
from app.db.reads.pipeline import Pipeline

RETRY_SECONDS: Final = 1.0
"""After a connection was refused, another is tried after this time, unless none is open: a server that has too many
is not asked again by every statement.
"""


class Opening:
    """Of the connections for one purpose."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._due = 0.0

    def seconds_left(self) -> float:
        """Seconds until another connection is to be tried, where one is open; 0 or less: now."""
        return self._due - time.monotonic()

    async def opened(self) -> Pipeline:
        """A new connection. Raises psycopg.OperationalError."""
        try:
            return Pipeline(await connected(self._url))
        except psycopg.OperationalError:
            self._due = time.monotonic() + RETRY_SECONDS
            raise
