"""PostgreSQL through psycopg 3: the connection pool, and the connection for LISTEN."""

from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CHANNEL = "stillhouse"
"""The one NOTIFY channel; payloads are names (`signals`)."""
POOLED: Final = 10
OVERFLOW: Final = 10
"""Connections for sessions: so many stay open, and so many more are opened where they are needed."""
MOST_READS: Final = 8
MOST_TRANSACTIONS: Final = 8
"""Connections for reads and for transactions without a session, of either."""
MOST_CONNECTIONS: Final = POOLED + OVERFLOW + MOST_READS + MOST_TRANSACTIONS + 1
"""Of one process; the last is the one that listens."""

_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds until an unresponsive network counts as failed
}
# A process that is suspended within a transaction must not hold its row locks forever.
_SESSION = "-c idle_in_transaction_session_timeout=30s -c lock_timeout=30s"


def pooled_engine(url: URL) -> AsyncEngine:
    """Up to POOLED + OVERFLOW connections, tested before use, so that a server restart fails no request."""
    return create_async_engine(
        url,
        pool_size=POOLED,
        max_overflow=OVERFLOW,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={**_CONNECT, "options": _SESSION},
    )


async def connected(url: URL) -> AsyncConnection[TupleRow]:
    """A connection outside the pool, on which every statement is a transaction. Its caller closes it."""
    _, options = url.get_dialect()().create_connect_args(url)
    arguments = {**options, **_CONNECT, "options": _SESSION}
    return await AsyncConnection.connect(**arguments, autocommit=True)


async def listening(engine: AsyncEngine) -> AsyncConnection[TupleRow]:
    """A connection outside the pool that listens on CHANNEL."""
    connection = await connected(engine.url)
    try:
        await connection.execute(f"LISTEN {CHANNEL}")
    except BaseException:
        await connection.close()
        raise
    return connection
