"""`stillhouse api` as a real process with few descriptors and short deadlines."""

import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.demo.service import free_port

SOON = 90.0


class ApiProcess:
    """The API below `data`, ended with the block. `files`: its limit of open files, soft and hard."""

    def __init__(self, data: Path, files: int, **settings: object) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._files = files
        self._settings = {f"STILLHOUSE_{name.upper()}": str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True, exist_ok=True)
        command = [str(Path(sys.executable).with_name("stillhouse")), "api"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), "--data", str(self.data)],
                stdout=log,
                stderr=log,
                env=clean | self._settings,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (self._files, self._files)),
            )
        try:
            eventually(self.is_ready)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=SOON)

    @property
    def log_file(self) -> Path:
        """What it writes to its standard streams."""
        return self.data.with_name(f"{self.data.name}.log")

    @property
    def key(self) -> str:
        """The key that its first start made."""
        return (self.data / "admin.key").read_text().strip()

    def is_ready(self) -> bool:
        """Whether `/readyz` answers 200 on a connection of its own."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=SOON).status_code == 200
        except httpx.HTTPError:
            return False

    def connect(self, begun: bytes = b"") -> socket.socket:
        """A connection on which so much was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=SOON)
        connection.sendall(begun)
        return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what it sent before is read and dropped."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def eventually(holds: object, seconds: float = SOON) -> None:
    """Wait until a function returns true."""
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.05)
