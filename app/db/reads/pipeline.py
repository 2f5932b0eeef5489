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

from psycopg import AsyncConnection, DataError, OperationalError, errors
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from app.db.reads.prepared import Prepared, PreparedStatements
from app.db.reads.query import Compiled, Query, Statement, Values

Call = tuple[Statement, Values]
"""A statement with the values of its parameters."""
Rows = list[Any]

_FAILED: Final = (ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE)


@dataclass
class _Batch:
    """Statements that were sent together: one that fails ends the others."""

    calls: Sequence[Call]
    used: Sequence[Prepared]
    """The prepared statement of each call."""
    changing: deque[Prepared]
    """What is deallocated and prepared for the batch, whose answers come first."""
    left: int
    """How many answers are still to come, those of `changing` and of the synchronisations too."""
    answered: asyncio.Future[list[PGresult]]
    sent: float
    results: list[PGresult] = field(default_factory=list)
    error: Exception | None = None

    def failed(self, result: PGresult) -> None:
        """Note the first error; of a statement that an earlier batch could not prepare, the error of that."""
        unprepared = (each.error for each in self.used if each.error is not None)
        self.error = self.error or next(unprepared, None) or errors.error_from_result(result)


class Pipeline:
    """Takes over a connection, which commits by itself unless a batch has BEGIN. Close it at the end."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection
        self._libpq = connection.pgconn
        self._libpq.enter_pipeline_mode()
        self._transformer = Transformer(connection)
        self._prepared = PreparedStatements()
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
        # Nothing is sent before all of it is encoded: what libpq has of a batch that ends early would answer the next.
        compiled = [statement.compiled("postgresql") for statement, _ in calls]
        encoded = [_encoded(each, values) for each, (_, values) in zip(compiled, calls, strict=True)]
        used, new = self._prepared.use([each.text for each in compiled])
        old = self._prepared.surplus(len(used)) if new and self._can_deallocate() else []
        changing = deque([*old, *new])
        answers = len(changing) + bool(changing) + len(calls) + 1
        answered: asyncio.Future[list[PGresult]] = self._loop.create_future()
        batch = _Batch(calls, used, changing, answers, answered, self._loop.time())
        try:
            self._change(old, new)
            for each, given in zip(used, encoded, strict=True):
                self._libpq.send_query_prepared(each.name, given)
            self._libpq.pipeline_sync()
            self._batches.append(batch)
            self._flush()
        except BaseException as error:
            self._fail(error)
            if answered.done():
                answered.exception()  # it is raised here
            raise
        return answered

    def _can_deallocate(self) -> bool:
        """Not in a transaction that has failed: there the server takes nothing but its end."""
        return self._libpq.transaction_status != TransactionStatus.INERROR

    def _change(self, old: Sequence[Prepared], new: Sequence[Prepared]) -> None:
        for each in old:
            self._libpq.send_query_params(b'DEALLOCATE "%b"' % each.name, None)
        for each in new:
            self._libpq.send_prepare(each.name, each.text.encode())
        if old or new:  # a synchronisation of their own: what is prepared stays so, whatever fails after it
            self._libpq.pipeline_sync()

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
        if result.status in _FAILED:
            batch.failed(result)
        if result.status != ExecStatus.PIPELINE_SYNC:
            if batch.changing:
                self._prepared.settle(batch.changing.popleft(), batch.error)
            else:
                batch.results.append(result)
        if batch.left:
            return
        self._batches.popleft()
        if batch.answered.done():  # its caller was cancelled
            return
        if batch.error is not None:
            batch.answered.set_exception(batch.error)
        else:
            batch.answered.set_result(batch.results)

    def _rows(self, statement: Statement, result: PGresult) -> Rows:
        if not isinstance(statement, Query):
            return []
        self._transformer.set_pgresult(result)
        found = self._transformer.load_rows(0, result.ntuples, tuple)
        return statement.rows(statement.compiled("postgresql"), found)

    def _fail(self, error: BaseException) -> None:
        """The connection is gone, or of no use any more. Other errors than libpq's may quote the values of one caller,
        so the others get their names alone.
        """
        self._stop()
        reason = str(error) if isinstance(error, OperationalError) else type(error).__name__
        while self._batches:
            batch = self._batches.popleft()
            if not batch.answered.done():
                batch.answered.set_exception(OperationalError(str(batch.error or reason)))

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


def _encoded(compiled: Compiled, values: Values) -> list[bytes | None]:
    given = compiled.named(values)
    return [_bytes(given[name]) for name in compiled.places]


def _bytes(value: Any) -> bytes | None:
    """A value as PostgreSQL reads it in text. Raises UnicodeEncodeError, and DataError for a text with NUL, which libpq
    would cut off there.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.isoformat().encode()
    text = value if isinstance(value, str) else str(value)
    if "\0" in text:
        raise DataError("expected a text without the character NUL, found one: PostgreSQL has no such texts")
    return text.encode()
