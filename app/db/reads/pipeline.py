"""A connection of PostgreSQL on which statements follow each other without waiting (libpq's pipeline mode).

psycopg makes a cursor and a reader of the event loop for each statement. Here the reader stays, a statement is prepared
once, and one wake-up reads the answers of many.
Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection, OperationalError, errors
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from app.db.reads.query import Query, Statement, Values

Call = tuple[Statement, Values]
"""A statement with the values of its parameters."""
Rows = list[Any]

_FAILED: Final = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


@dataclass
class _Batch:
    """Statements that were sent together: one that fails ends the others."""

    calls: Sequence[Call]
    left: int
    """How many answers are still to come, those of the statements prepared for it and of the synchronisations too."""
    answered: asyncio.Future[list[PGresult]]
    sent: float
    results: list[PGresult] = field(default_factory=list)
    error: Exception | None = None


class Pipeline:
    """Takes over a connection, which commits by itself unless a batch has BEGIN. Close it at the end."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._libpq.enter_pipeline_mode()
        self._transformer = Transformer(connection)
        self._names: dict[str, bytes] = {}
        self._batches: deque[_Batch] = deque()
        self._loop = asyncio.get_running_loop()
        self._socket = self._libpq.socket
        self._loop.add_reader(self._socket, self._read)
        self.is_open = True

    def waits(self) -> float:
        """Seconds since the oldest batch was sent that is not answered; 0 if there is none."""
        return self._loop.time() - self._batches[0].sent if self._batches else 0.0

    async def run(self, calls: Sequence[Call]) -> list[Rows]:
        """The rows of each statement (none of a statement that is no Query). Raises psycopg's error of the first that
        failed; after an OperationalError with `is_open` False it is not known what was done.
        """
        results = await self._sent(calls)
        return [self._rows(call[0], result) for call, result in zip(calls, results, strict=True)]

    def _sent(self, calls: Sequence[Call]) -> asyncio.Future[list[PGresult]]:
        answered: asyncio.Future[list[PGresult]] = self._loop.create_future()
        batch = _Batch(calls, 0, answered, self._loop.time())
        try:
            compiled = [statement.compiled("postgresql") for statement, _ in calls]
            new = {each.text for each in compiled} - self._names.keys()
            for text in new:
                self._names[text] = f"{len(self._names)} {text.partition(' ')[0]}".encode()
                self._libpq.send_prepare(self._names[text], text.encode())
            if new:  # a synchronisation of their own: what is prepared stays so, whatever fails after it
                self._libpq.pipeline_sync()
            for each, (_, values) in zip(compiled, calls, strict=True):
                given = each.named(values)
                self._libpq.send_query_prepared(self._names[each.text], [_bytes(given[name]) for name in each.places])
            self._libpq.pipeline_sync()
            batch.left = len(new) + bool(new) + len(calls) + 1
            self._batches.append(batch)
            self._flush()
        except OperationalError as error:
            self._fail(error)
            raise
        return answered

    def _flush(self) -> None:
        if self._libpq.flush():
            self._loop.add_writer(self._socket, self._write)

    def _write(self) -> None:
        self._loop.remove_writer(self._socket)
        try:
            self._flush()
        except OperationalError as error:
            self._fail(error)

    def _read(self) -> None:
        try:
            self._libpq.consume_input()
            while self._batches and not self._libpq.is_busy():
                result = self._libpq.get_result()
                if result is not None:  # None ends the results of one statement
                    self._take(self._batches[0], result)
        except OperationalError as error:
            self._fail(error)

    def _take(self, batch: _Batch, result: PGresult) -> None:
        batch.left -= 1
        status = result.status
        if status in _FAILED:
            batch.error = batch.error or errors.error_from_result(result)
        elif status != ExecStatus.PIPELINE_SYNC:
            batch.results.append(result)
        if batch.left:
            return
        self._batches.popleft()
        if batch.answered.done():  # its caller was cancelled
            return
        if batch.error is not None:
            batch.answered.set_exception(batch.error)
        else:
            batch.answered.set_result(batch.results[-len(batch.calls) :])

    def _rows(self, statement: Statement, result: PGresult) -> Rows:
        if not isinstance(statement, Query):
            return []
        self._transformer.set_pgresult(result)
        found = self._transformer.load_rows(0, result.ntuples, tuple)
        return statement.rows(statement.compiled("postgresql"), found)

    def _fail(self, error: Exception) -> None:
        """The connection is gone."""
        self._stop()
        while self._batches:
            batch = self._batches.popleft()
            if not batch.answered.done():
                batch.answered.set_exception(OperationalError(str(batch.error or error)))

    def _stop(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._libpq.finish()

    async def close(self) -> None:
        """Close the connection; what waits for an answer gets an OperationalError."""
        self._fail(OperationalError("the connection was closed"))
        await self._connection.close()


def _bytes(value: Any) -> bytes | None:
    """A value as PostgreSQL reads it in text."""
    if isinstance(value, str):
        return value.encode()
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.isoformat().encode()
    return str(value).encode()
