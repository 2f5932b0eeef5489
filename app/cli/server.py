"""The API server of `stillhouse serve` and `stillhouse api`. A worker, if there is one, is stopped with it."""

import asyncio
import fcntl
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, cast

import uvicorn
from fastapi import FastAPI

from app.cli.connections.limits import count_connections
from app.cli.connections.listener import Listener
from app.cli.connections.pools import Connections
from app.cli.connections.protocol import BoundedProtocol, Deadlines, check_all
from app.cli.worker_process import WorkerProcess
from app.settings import Settings

GRACEFUL_SECONDS: Final = 5
"""How long responses may take to end after SIGTERM; streams end at once."""

CHECK_SECONDS: Final = 0.5
"""How often the deadlines of connections are checked."""

_log: Final = logging.getLogger("uvicorn.error")


class AlreadyServed(Exception):
    """Another process serves this data directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another `stillhouse serve` uses {folder}: stop it, or choose another --data")


class CannotListen(Exception):
    """The address or port is not to be had."""

    def __init__(self, where: str, error: OSError) -> None:
        super().__init__(
            f"expected to listen at {where}, found: {error.strerror}: stop what listens there, or choose another "
            "--port (STILLHOUSE_PORT) or --host (STILLHOUSE_HOST)"
        )


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket bound to this address, which does not listen yet. Raises CannotListen."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise CannotListen(_at(host, port), error) from None
    return bound


def _at(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def sole_server(folder: Path) -> Iterator[None]:
    """Lock the data directory during the block. Raises AlreadyServed."""
    with (folder / "serve.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyServed(folder) from None
        yield


class Server(uvicorn.Server):
    """uvicorn with bounded connections, and streams and long-polls ending as soon as it begins to shut down."""

    def __init__(self, app: FastAPI, settings: Settings, counted: Connections) -> None:
        deadlines = Deadlines(headers=settings.header_seconds, stall=settings.body_seconds)
        protocol = partial(BoundedProtocol, counted=counted, deadlines=deadlines)
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                lifespan="on",
                http=cast("type[asyncio.Protocol]", protocol),
                ws="none",
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACEFUL_SECONDS,
                timeout_keep_alive=settings.keep_alive_seconds,
            )
        )
        self._app = app
        self._checked_at = 0.0

    async def on_tick(self, counter: int) -> bool:
        """Every 0.1 s: check the deadlines of all connections, if it is time."""
        now = asyncio.get_running_loop().time()
        if now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            check_all(self.server_state.connections, now)
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`: uvicorn would pass them on only after all responses have ended."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams, then wait for responses. The application's own shutdown is quick, and runs even when forced."""
        self._app.state.services.closing.set()
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


async def serve(app: FastAPI, settings: Settings, worker: WorkerProcess | None, bound: socket.socket) -> None:
    """Serve at a bound socket, which is closed then, until SIGTERM or SIGINT.

    The worker drains while responses end. A second signal waits for neither.
    """
    counted = count_connections(settings)
    server = Server(app, settings, counted)

    def stop(number: int, frame: FrameType | None) -> None:
        again, server.should_exit = server.should_exit, True
        server.force_exit = again
        if worker is not None:
            (worker.hurry if again else worker.drain)()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _log.info("listening at http://%s (Ctrl+C stops it)", _at(settings.host, bound.getsockname()[1]))
    listener = Listener(bound, counted)
    # Connections inherit it. asyncio does not set it on sockets that were bound elsewhere, and a response in two
    # packets would then wait 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    running = asyncio.create_task(worker.run(), name="worker") if worker is not None else None
    try:
        await server.serve(sockets=[listener])
    finally:
        if worker is not None and running is not None:
            await worker.stop()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
