"""The API on a socket, in this process: connections are real ones, and the test sees what the service counts."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
import pytest

from app.access import repository
from app.access.secrets import new_key
from app.cli.connections.limits import count_connections
from app.cli.connections.listener import Listener
from app.cli.server import Server, bound_socket
from app.http.services import Services
from app.main import create_app
from app.settings import Settings
from tests.integration.api.harness import ApiHarness

SOON = 30.0


@dataclass
class Client:
    """A connection, whose bytes are read only when asked for."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)

    @classmethod
    async def of(cls, port: int, host: str = "127.0.0.1") -> Self:
        """A connection with a receive buffer as small as it may be."""
        connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
        return cls(connection)

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises ConnectionError where the other side is gone."""
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.socket, data), SOON)

    async def read(self, most: int = 65_536) -> bytes:
        """What arrives next; nothing at the end. Raises ConnectionError."""
        piece = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, most), SOON)
        self.received += piece
        return piece


@dataclass
class Service(ApiHarness):
    """The API with a client over connections, and the port that it listens at."""

    port: int
    server: Server

    @property
    def open_connections(self) -> int:
        """How many connections the server has."""
        return len(self.server.server_state.connections)

    @asynccontextmanager
    async def client(self, begun: bytes = b"") -> AsyncIterator[Client]:
        """A connection on which so much was sent."""
        client = await Client.of(self.port)
        with client.socket:
            await client.send(begun)
            yield client


Serving = Callable[..., AbstractAsyncContextManager[Service]]


@contextmanager
def _plain_logging() -> Iterator[None]:
    """Uvicorn sets up its loggers for the whole process; other tests read them as they are without it."""
    names = ("uvicorn", "uvicorn.error", "uvicorn.access")
    before = [(each, each.handlers[:], each.propagate, each.level) for each in map(logging.getLogger, names)]
    try:
        yield
    finally:
        for logger, handlers, propagate, level in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


@asynccontextmanager
async def served(url: str, folder: Path, send_buffer: int | None, **changes: object) -> AsyncIterator[Service]:
    """The API over this migrated database. `send_buffer`: how many bytes the kernel keeps of an answer."""
    fixed = {"data_dir": folder, "database_url": url, "threads": 1, "spare_disk_bytes": 0, "port": 0}
    settings = Settings.model_validate(fixed | changes)
    app = create_app(settings)
    counted = count_connections(settings)
    with _plain_logging():
        server = Server(app, settings, counted)
        bound = bound_socket(settings.host, settings.port)
        if send_buffer is not None:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        port: int = bound.getsockname()[1]
        running = asyncio.create_task(server.serve(sockets=[Listener(bound, counted)]))
        try:
            async with asyncio.timeout(SOON):
                while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
                    await asyncio.sleep(0.01)
            services: Services = app.state.services
            key = new_key()
            async with services.database.write() as session:
                await repository.add(session, key, "test")
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=SOON) as http:
                yield Service(app, services, http, key, port, server)
        finally:
            server.should_exit = True
            await asyncio.wait_for(running, SOON)


@pytest.fixture
def serving(migrated_sqlite_url: str, tmp_path: Path) -> Serving:
    """Opens the API with these settings."""

    def opened(send_buffer: int | None = None, **settings: object) -> AbstractAsyncContextManager[Service]:
        return served(migrated_sqlite_url, tmp_path / "data", send_buffer, **settings)

    return opened
