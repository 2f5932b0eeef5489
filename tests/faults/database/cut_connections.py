"""A proxy between a process and PostgreSQL that can cut a connection between a COMMIT and its answer."""

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
COMMIT = b"COMMIT\0"
"""In every message that asks for it (as the text of a statement, or the name of one that is prepared), and in the
response once it is done.
"""


class Cutter:
    """Counts commits that pass, and drops the answers to those that `wanted` chooses, with their connections.

    `before`: the connection is cut before the server hears of the commit, instead of after it has answered.
    `stays_away`: after a cut, no other connection reaches the server.
    """

    def __init__(self, wanted: Callable[[int], bool], *, before: Callable[[int], bool] = lambda number: False) -> None:
        self._wanted = wanted
        self._before = before
        self.commits = 0
        self.cuts = 0
        self.stays_away = False

    @property
    def is_away(self) -> bool:
        """Whether the server is not reached now."""
        return self.stays_away and self.cuts > 0

    def cut(self) -> bool | None:
        """Of the next commit: None to let it pass, True to cut before it, False to cut after it."""
        self.commits += 1
        if self._before(self.commits):
            self.cuts += 1
            return True
        if self._wanted(self.commits):
            self.cuts += 1
            return False
        return None


def now_and_then(seed: int, share: float) -> Cutter:
    """A Cutter of a seeded choice of commits, one half before and one half after they are done."""
    chance = random.Random(seed)
    return Cutter(lambda _: chance.random() < share / 2, before=lambda _: chance.random() < share / 2)


@contextmanager
def cutting(folder: str, cutter: Cutter) -> Iterator[int]:
    """Listen on a loopback port (which is given) and pass on to the server whose socket lies in `folder`.

    In a thread of its own: a client that connects may block the test's event loop.
    """
    loop = asyncio.new_event_loop()
    started: Future[int] = Future()
    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_serve(folder, cutter, started, ended),))
    thread.start()
    try:
        yield started.result(timeout=10)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


async def _serve(folder: str, cutter: Cutter, started: "Future[int]", ended: asyncio.Event) -> None:
    running: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_relay((reader, writer), folder, cutter))
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also of a task that was ended before it began

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    started.set_result(int(server.sockets[0].getsockname()[1]))
    await ended.wait()
    server.close()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _relay(client: Ends, folder: str, cutter: Cutter) -> None:
    """One connection, until either side ends it or it is cut."""
    try:
        server = await asyncio.open_unix_connection(Path(folder) / ".s.PGSQL.5432")
    except OSError:
        return
    doomed = asyncio.Event()
    ways = {
        asyncio.create_task(_up(client, server, cutter, doomed)),
        asyncio.create_task(_down(server, client, doomed)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        server[1].transport.abort()


async def _up(client: Ends, server: Ends, cutter: Cutter, doomed: asyncio.Event) -> None:
    while data := await client[0].read(1 << 16):
        if cutter.is_away and not doomed.is_set():
            return
        if COMMIT in data and not doomed.is_set():
            early = cutter.cut()
            if early:
                return
            if early is False:
                doomed.set()
        server[1].write(data)
        await server[1].drain()


async def _down(server: Ends, client: Ends, doomed: asyncio.Event) -> None:
    while data := await server[0].read(1 << 16):
        if doomed.is_set():
            if COMMIT in data or b"ROLLBACK\0" in data:
                return  # the server has committed and responded; the response is dropped
            continue  # that of what it was sent together with
        client[1].write(data)
        await client[1].drain()


def through(url: str, port: int) -> str:
    """The database's URL by way of the proxy."""
    name = url.partition("@/")[2].partition("?")[0]
    return f"postgresql+psycopg://postgres@127.0.0.1:{port}/{name}?sslmode=disable&gssencmode=disable"
