"""The database of a process: sessions to read, sessions to write, and waiting for changes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.db import failures, postgresql, sqlite
from app.db.errors import DatabaseFull, DatabaseUnavailable
from app.db.failures import unavailable
from app.db.listeners import listen_postgresql, poll_sqlite
from app.db.reads import PostgresqlReads, Query, SqliteReads
from app.db.reads.query import Row
from app.db.signals import Subscriptions, Watch, announced_names, is_for_all
from app.db.transactions import PostgresqlTransactions, SqliteTransactions, Steps, commits
from app.db.transactions.steps import T
from app.db.urls import Dialect, async_url

R = TypeVar("R")
_WRITER_WAIT_SECONDS = 30.0
FULL_SECONDS = 30.0
"""How long a service counts as not ready after a change that its database had no room for."""


def open_database(url: str) -> "Database":
    """Open the database at `url` (`sqlite:///…` or `postgresql://…`); nothing is connected yet.

    Raises UnsupportedDatabase. The schema must be there already (`app.db.migrate.upgrade`).
    """
    dialect, parsed = async_url(url)
    if dialect == "sqlite":
        engines = sqlite.reader_engine(parsed), sqlite.writer_engine(parsed), sqlite.short_writer_engine(parsed)
        return Database(parsed, dialect, SqliteReads(parsed), *engines)
    engine = postgresql.pooled_engine(parsed)
    return Database(parsed, dialect, PostgresqlReads(parsed), engine, engine, engine)


class Database:
    """One per process and event loop. Close it at the end.

        rows = await database.fetch(QUERY, id=…)     one statement that is compiled once, for frequent reads
        async with database.read() as session: …     a snapshot on SQLite; never held during a stream
        async with database.write() as session: …    committed at the end of the block, rolled back on an error
        result = await database.transact(steps)      a frequent transaction: statements that are compiled once

    Every failure to reach the database raises DatabaseUnavailable, and a full disk DatabaseFull, which is one.
    """

    def __init__(
        self,
        url: URL,
        dialect: Dialect,
        reads: SqliteReads | PostgresqlReads,
        readers: AsyncEngine,
        writers: AsyncEngine,
        short_writers: AsyncEngine,
    ) -> None:
        self.dialect = dialect
        self._url = url
        self._full: tuple[DatabaseFull, float] | None = None
        self._reads = reads
        self._readers = readers
        self._writers = writers
        self._short_writers = short_writers
        self._writer_lock = asyncio.Lock()  # SQLite: one writer at a time, in the order of their calls
        self._subscriptions = Subscriptions()
        self._wanted = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        if dialect == "sqlite":
            self._transactions: SqliteTransactions | PostgresqlTransactions = SqliteTransactions(
                short_writers, self._subscriptions, self._writing
            )
        else:
            self._transactions = PostgresqlTransactions(writers, self._subscriptions)

    async def fetch(self, query: Query[Row], **values: str | int) -> list[Row]:
        """The rows of a query with these parameters: what is committed now, without a session."""
        return await self._reads.fetch(query, values)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A read-only session. Objects stay usable after the block; relationships must be loaded inside it."""
        with self._translated():
            async with AsyncSession(self._readers, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def write(self, *, short: bool = False) -> AsyncIterator[AsyncSession]:
        """One write transaction, committed when the block ends. Waiters for its signals are woken after the commit.

        On SQLite it holds the database's write lock from its first statement, so keep slow work out of it; with `short`
        its statements run in the event loop, so that each must read and write a few rows only. On PostgreSQL a commit
        whose response is lost counts as done if its commit check succeeds (`commits`).
        """
        with self._translated():
            engine = self._short_writers if short else self._writers
            async with self._writing(), AsyncSession(engine, expire_on_commit=False) as session:
                yield session
                await session.flush()
                names = announced_names(session)
                if self.dialect == "postgresql" and (names or commits.has_commit_check(session)):
                    await commits.commit(session, self._readers, names)
                elif self.dialect == "sqlite" and is_for_all(session):
                    with self._subscriptions.committing(await sqlite.write_signal(await session.connection(), names)):
                        await session.commit()
                else:
                    await session.commit()
        self._subscriptions.notify(names)

    async def transact(self, make: Callable[[], Steps[T]]) -> T:
        """One write transaction of the steps that `make` begins, committed after their last one; what they return.

        `make` may be called once more, where nothing was committed. What `write` says of commits holds here too.
        """
        with self._translated():
            return await self._transactions.run(make)

    async def together(self, work: Callable[[AsyncSession], Awaitable[R]]) -> R:
        """The result of `work`, a short transaction as of `write`. On SQLite it is committed together with the others
        that wait for the writer at this time.
        """
        if isinstance(self._transactions, SqliteTransactions):
            with self._translated():
                return await self._transactions.run_session(work)
        async with self.write(short=True) as session:
            return await work(session)

    @contextmanager
    def watch(self, *names: str, urgent: bool = False) -> Iterator[Watch]:
        """Subscribe to changes of these ids (or WORK). Subscribe, read the rows, then wait:

            with database.watch(job_id) as watch:
                while not ended(await read()) and await watch.wait(seconds_left()): …

        so that no change between reading and waiting is missed. No session is held while waiting. On SQLite a commit
        of another process is noticed within 20 ms, with `urgent` as soon as the kernel tells of it.
        """
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="database-listener")
        with self._subscriptions.subscribe(names, urgent=urgent) as watch:
            self._wanted.set()
            yield watch

    async def ping(self) -> None:
        """Raises DatabaseUnavailable unless the database answers."""
        async with self.read() as session:
            await session.execute(text("SELECT 1"))

    async def require_room(self) -> None:
        """Raises DatabaseFull unless changes can be written, as far as is known: by the free space of an SQLite file's
        disk, and by the changes of the last FULL_SECONDS.
        """
        if not await asyncio.to_thread(failures.has_room, self._url):
            raise DatabaseFull(failures.disk_of(self._url), f"less than {failures.LEAST_FREE} bytes are free")
        if self._full is not None and asyncio.get_running_loop().time() - self._full[1] < FULL_SECONDS:
            raise self._full[0]

    async def close(self) -> None:
        """Close every connection."""
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
            self._listener = None
        await self._reads.close()
        await self._transactions.close()
        for engine in {self._readers, self._writers, self._short_writers}:
            await engine.dispose()

    async def _listen(self) -> None:
        listen = poll_sqlite if self.dialect == "sqlite" else listen_postgresql
        await listen(self._readers, self._subscriptions, self._wanted)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise self._noted(unavailable(error.orig, self._url)) from error
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise unavailable(error.orig, self._url) from error
        except sqlite3.OperationalError as error:
            raise self._noted(unavailable(error, self._url)) from error
        except DatabaseFull as error:
            self._noted(error)
            raise
        except PoolTimeout as error:
            raise DatabaseUnavailable("every connection is in use") from error

    def _noted(self, error: DatabaseUnavailable) -> DatabaseUnavailable:
        if isinstance(error, DatabaseFull):
            self._full = error, asyncio.get_running_loop().time()
        return error

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        if self.dialect == "postgresql":
            yield
            return
        try:
            async with asyncio.timeout(_WRITER_WAIT_SECONDS):
                await self._writer_lock.acquire()
        except TimeoutError:
            raise DatabaseUnavailable("the writer was busy for too long") from None
        try:
            yield
        finally:
            self._writer_lock.release()
