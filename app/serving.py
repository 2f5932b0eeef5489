"""`stillhouse serve`: the API in this process, a worker as a subprocess, both stopped together."""

import asyncio
import ctypes
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from app.settings import Settings

GRACEFUL_SECONDS: Final = 5
"""How long answers may take to end after SIGTERM; streams are told to end at once."""

KEEP_ALIVE_SECONDS: Final = 75
"""How long a connection may be idle: longer than proxies and clients keep one (60 s is usual). Who closes first must be
they, as a request that crosses the server's end of a connection is lost without an answer."""

_LARGEST_HEADERS: Final = 65_536
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_HEALTHY_SECONDS: Final = 30.0
_SPARE_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None)
_log = logging.getLogger("uvicorn.error")


class AlreadyServed(Exception):
    """Another process serves this data directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another `stillhouse serve` works on {folder}: stop it, or choose another --data")


@contextmanager
def sole_server(folder: Path) -> Iterator[None]:
    """Hold the data directory for the length of the block. Raises AlreadyServed."""
    with (folder / "serve.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyServed(folder) from None
        yield


class Server(uvicorn.Server):
    """uvicorn, which tells streams and long-polls to end as soon as it is told to stop itself."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                lifespan="on",
                ws="none",
                access_log=False,
                server_header=False,
                h11_max_incomplete_event_size=_LARGEST_HEADERS,
                timeout_graceful_shutdown=GRACEFUL_SECONDS,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self._app = app

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `serve`'s business: uvicorn would keep them from the worker until all answers have ended."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ring the bell, then wait for answers to end. Even in a hurry the application ends in order: it is quick."""
        self._app.state.services.closing.set()
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


def worker_command(slots: int, lanes: Sequence[str]) -> list[str]:
    """How a worker process is started."""
    return [sys.executable, "-m", "workers", "--slots", str(slots), "--lanes", ",".join(lanes)]


class WorkerProcess:
    """A worker as a subprocess: started again when it dies, told to drain at the end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], drain_seconds: float) -> None:
        self._command = command
        self._environment = environment
        self._drain_seconds = drain_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()

    def drain(self) -> None:
        """Tell it to checkpoint and give its jobs back; no other is started. May be said in a signal's handler."""
        self._stop.set()
        self._say(signal.SIGUSR1)

    def hurry(self) -> None:
        """Tell it to kill its jobs, which go back to the queue, and to end."""
        self._say(signal.SIGQUIT)

    def _say(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def run(self) -> None:
        """Keep one alive until `drain`. One that dies again and again is started less and less often."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            started = loop.time()
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self._environment, start_new_session=True, preexec_fn=_end_with_parent
            )
            if self._stop.is_set():
                self.drain()  # said while it was being started
            status = await self._process.wait()
            if self._stop.is_set():
                return
            pause = _FIRST_PAUSE if loop.time() - started > _HEALTHY_SECONDS else min(pause * 2, _LONGEST_PAUSE)
            _log.warning("the worker ended with status %d; starting another in %.1f s", status, pause)
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """Drain it, if that has not been said yet, and wait for its end; SIGKILL after its time."""
        self.drain()
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            async with asyncio.timeout(self._drain_seconds + _SPARE_SECONDS):
                await process.wait()
        except TimeoutError:
            _log.warning("the worker did not drain in time: it is killed, and its jobs are taken up again later")
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _end_with_parent() -> None:
    """In the worker, before it starts: it drains when this process dies, however it dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment in which a worker reads these very settings, without the key."""
    kept = {name: value for name, value in os.environ.items() if name != "STILLHOUSE_API_KEY"}
    said = settings.model_dump(mode="json", exclude={"api_key"})
    return kept | {f"STILLHOUSE_{name.upper()}": str(value) for name, value in said.items()}


async def serve(app: FastAPI, settings: Settings, worker: WorkerProcess | None) -> None:
    """Serve until SIGTERM or SIGINT; the worker drains while answers end. A second signal waits for neither."""
    server = Server(app, settings)

    def stop(number: int, frame: FrameType | None) -> None:
        again, server.should_exit = server.should_exit, True
        server.force_exit = again
        if worker is not None:
            (worker.hurry if again else worker.drain)()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    bound = server.config.bind_socket()
    # Every connection inherits it; asyncio does not set it on sockets that were bound elsewhere, and an answer in
    # two pieces then waits 40 ms for the client's delayed acknowledgement.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keeping = asyncio.create_task(worker.run(), name="worker") if worker is not None else None
    try:
        await server.serve(sockets=[bound])
    finally:
        if worker is not None and keeping is not None:
            await worker.stop()
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
