"""A TCP proxy that cuts connections when a test says so."""

import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, as a broken network does
_CHUNK: Final = 65_536


class Proxy:
    """Passes bytes to a service and back. `cut` ends what is open; `limit_up` and `limit_down` end the connection that
    has carried so many bytes in that direction, once for each call.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        self._target = (parts.hostname, parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._limits: dict[str, int | None] = {"up": None, "down": None}
        self.connections = 0
        self.cuts = 0
        self.passed = threading.Condition()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()

    def limit_up(self, count: int) -> None:
        """Cut the next connection over which a client has sent so many bytes."""
        self._limits["up"] = count

    def limit_down(self, count: int) -> None:
        """Cut the next connection over which the service has sent so many bytes."""
        self._limits["down"] = count

    def cut(self) -> None:
        """Cut all connections that are open."""
        with self._lock:
            sockets, self._open = self._open, set()
            self.cuts += bool(sockets)
        _reset(sockets)

    def wait_for_answers(self, count: int) -> None:
        """Wait until the service has answered in so many pieces in all, over any connection."""
        with self.passed:
            assert self.passed.wait_for(lambda: self.answers >= count, timeout=60)

    answers = 0

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                service = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, service}
                self.connections += 1
            for source, sink, way in ((client, service, "up"), (service, client, "down")):
                threading.Thread(target=self._pump, args=(source, sink, way), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        carried = 0
        try:
            while chunk := source.recv(_CHUNK):
                carried += len(chunk)
                limit = self._limits[way]
                if limit is not None and carried >= limit:
                    self._limits[way] = None
                    self.cut()
                    return
                sink.sendall(chunk)
                if way == "down":
                    with self.passed:
                        self.answers += 1
                        self.passed.notify_all()
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # one side is broken, so the other one must hear of it
            with self._lock:
                self._open -= {source, sink}
            _reset({source, sink})


def _reset(sockets: Iterable[socket.socket]) -> None:
    """Close connections as a broken network does."""
    for each in sockets:
        with suppress(OSError):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.shutdown(socket.SHUT_RDWR)
        each.close()
