"""The listening socket: it counts connections as it accepts them, and refuses those beyond the caps."""

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from app.cli.connections.pools import Connections
from app.cli.connections.refusals import log, raw_answer, too_many

_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_READ_BEFORE_CLOSING: Final = 65_536


class _Accepted(socket.socket):
    """A connection that says when its descriptor is closed, for whatever reason."""

    on_close: Callable[[int], None] | None = None

    def close(self) -> None:
        """Close the descriptor. It may be closed already: the interpreter finalizes a socket before what holds it."""
        descriptor, on_close, self.on_close = self.fileno(), self.on_close, None
        super().close()
        if on_close is not None and descriptor >= 0:
            on_close(descriptor)


class Listener(socket.socket):
    """A bound socket for asyncio, which accepts until BlockingIOError or, before 3.13, ConnectionAbortedError.

    asyncio itself accepts as many as wait before a protocol can refuse one, and without descriptors it logs once for
    each place in the backlog, then stops accepting for a second. This one keeps a descriptor to spare: it is closed to
    accept a connection that is then closed, so that none waits unanswered.
    """

    def __init__(self, bound: socket.socket, connections: Connections) -> None:
        super().__init__(fileno=bound.detach())
        self._connections = connections
        self._in_reserve: int | None = _any_descriptor()

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection within the caps."""
        if self._connections.must_wait:
            raise BlockingIOError(errno.EAGAIN, "evicted connections are closed first")
        try:
            plain, address = super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._drop_one(error)
            raise ConnectionAbortedError(errno.ECONNABORTED, "no descriptor for the connection") from error
        accepted = _Accepted(fileno=plain.detach())
        if self._connections.admit(accepted.fileno(), address[0]) is None:
            _refuse(accepted)
            raise ConnectionAbortedError(errno.ECONNABORTED, "the connection is beyond the caps")
        accepted.on_close = self._connections.closed
        return accepted, address

    def close(self) -> None:
        """Close the socket, and what it keeps in reserve."""
        super().close()
        self._release()

    def _drop_one(self, error: OSError) -> None:
        self._release()
        try:
            super().accept()[0].close()
        except OSError as again:  # none waits, or another thread was faster
            raise BlockingIOError(errno.EAGAIN, "no connection was accepted") from again
        finally:
            with suppress(OSError):
                self._in_reserve = _any_descriptor()
        log.warning("connections are closed unanswered: %s; raise `ulimit -n`", os.strerror(error.errno or 0))

    def _release(self) -> None:
        descriptor, self._in_reserve = self._in_reserve, None
        if descriptor is not None:
            os.close(descriptor)


def _any_descriptor() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _refuse(accepted: socket.socket) -> None:
    """Answer 503 and close. What has arrived is read first: the kernel would discard the answer otherwise."""
    log.warning("connections are refused by 503: as many are open as may be")
    with accepted, suppress(OSError):
        accepted.setblocking(False)
        with suppress(BlockingIOError):
            accepted.recv(_READ_BEFORE_CLOSING)
        accepted.send(raw_answer(too_many()))
        accepted.shutdown(socket.SHUT_WR)
