"""One warm session: a sandboxed child that has loaded a model and answers one request after the other."""

import asyncio
import logging
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from app.contracts.wire.predictions import ORDER, Reply, RowsFormat, SessionOrder
from app.queue.predictions.records import Answered
from workers.runtime.child import frames
from workers.runtime.child.pool import Child, ChildPool
from workers.runtime.child.spool import Spool
from workers.runtime.child.watchdog import Watchdog
from workers.runtime.clock import host_clock

SILENT_SECONDS = 6.0
"""A child that shows no sign of life for so long is ended; it gives one every second, whatever it computes."""
_SILENT = (
    f"expected a sign of progress at least every {SILENT_SECONDS:.0f} s from the process that runs the model, found "
    "none, and stopped it: send the request again"
)
_LOOK_SECONDS = 0.5
_LONGEST_HEAD = 1 << 20
_LONGEST_BODY = 128 << 20
_log = logging.getLogger("stillhouse.worker")


class SessionEnded(Exception):
    """The child died, or was killed because it did not answer in time; `code` and `detail` are for the client."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class SessionSilent(SessionEnded):
    """The child showed no progress at all, and was killed: another can answer the same request."""


class Session:
    """A child and the connection to it. Its folder is removed when it is closed."""

    def __init__(self, folder: Path, child: Child, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spool = Spool(folder / "events.jsonl")
        self._watchdog = Watchdog(SILENT_SECONDS, advice="")
        self._folder = folder
        self._child = child
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, children: ChildPool, folder: Path, order: SessionOrder, seconds: float) -> "Self | Answered":
        """Start a child and have it load the model within so many seconds; the error where the model cannot answer.

        Raises SessionEnded, NoForkServer.
        """
        await asyncio.to_thread(_write_order, folder, order)
        async with _removed_on_error(folder):
            ours, theirs = socket.socketpair()
            try:
                child = await children.spawn(folder, None, "", host_clock() + seconds, theirs)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            session = cls(folder, child, reader, writer)
            try:
                opened = await session._receive(seconds, "load the model")
            except BaseException:
                child.kill()
                writer.close()
                raise
        if opened.reply.status == 200:
            return session
        await session.close()
        return opened

    @property
    def is_alive(self) -> bool:
        """Whether its child lives, as far as is known."""
        return not self._child.exit.done()

    async def answer(self, kind: RowsFormat, body: bytes, seconds: float) -> Answered:
        """The answer to one request; the caller asks for one at a time.

        Raises SessionEnded if the child dies, or has not answered in time, and is killed; SessionSilent.
        """
        self._writer.write(frames.packed(kind.encode(), body))
        receiving = asyncio.create_task(self._receive(seconds, "answer"))
        try:
            while not (await asyncio.wait({receiving}, timeout=_LOOK_SECONDS))[0]:
                if await self.is_silent():
                    receiving.cancel()
                    await self.close()
                    raise SessionSilent("prediction_failed", _SILENT)
            return receiving.result()
        finally:
            receiving.cancel()

    async def is_silent(self) -> bool:
        """Whether the child no longer reports progress, also while it has no request."""
        self._watchdog.look(await asyncio.to_thread(self._spool.read))
        return self._watchdog.exceeded is not None

    async def _receive(self, seconds: float, what: str) -> Answered:
        try:
            async with asyncio.timeout(seconds):
                sizes = frames.lengths(await self._reader.readexactly(frames.LENGTHS_BYTES))
                if sizes[0] > _LONGEST_HEAD or sizes[1] > _LONGEST_BODY:
                    raise ValueError(sizes)  # the child is not trusted
                head = await self._reader.readexactly(sizes[0])
                return Answered(Reply.model_validate_json(head), await self._reader.readexactly(sizes[1]))
        except TimeoutError:
            await self.close()
            raise SessionEnded(
                "prediction_timeout",
                f"expected the model to {what} within {seconds:.0f} s and stopped it: send fewer rows",
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError, ValidationError, ValueError):
            _log.warning("a session of predictions died: %s", await asyncio.to_thread(_last_words, self._folder))
            await self.close()
            raise SessionEnded(
                "prediction_failed",
                "the process that ran the model ended before it had answered: send the request again, and with fewer "
                "rows if that happens again; the log of the worker says more",
            ) from None

    async def close(self) -> None:
        """Kill the child and remove its folder. Further calls have no effect."""
        self._child.kill()
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await self._child.exit
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _write_order(folder: Path, order: SessionOrder) -> None:
    folder.mkdir(parents=True)
    (folder / ORDER).write_text(order.model_dump_json(by_alias=True))


@asynccontextmanager
async def _removed_on_error(folder: Path) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _last_words(folder: Path) -> str:
    """The end of a child's log, as one line."""
    with suppress(OSError):
        return " | ".join((folder / "log.txt").read_text(errors="replace").splitlines()[-3:])[-500:]
    return ""
