"""uvicorn's protocol with deadlines, for the headers of a request and for a client that stops reading its answer, and
with requests as strict as `requests` has them.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.cli.connections.lingering import LingeringTransport
from app.cli.connections.pools import Connection, Connections
from app.cli.connections.refusals import ProbesOnly, headers_too_slow, log, raw_answer
from app.cli.connections.requests import MOST_HEADER_BYTES, StrictConnection


@dataclass(frozen=True)
class Deadlines:
    """Seconds from a connection's start, or a request's first byte, to the end of its headers; and without progress of
    an answer that the client should read. An answer that is complete, but not read for so long, gives way to others; a
    body may come for so long after the answer to its request.
    """

    headers: float
    stall: float


class BoundedProtocol(H11Protocol):
    """A connection that is cut when nothing comes of it. Requests in progress may take as long as they do."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        counted: Connections,
        deadlines: Deadlines,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = log
        self.conn: StrictConnection = StrictConnection(h11.SERVER, MOST_HEADER_BYTES)
        self._counted = counted
        self._deadlines = deadlines
        self._connection: Connection
        self._lingering: LingeringTransport
        self._headers_since: float | None = None
        self._answered_at = 0.0
        self._unread_since: float | None = None
        self._unsent = 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers."""
        self._lingering = LingeringTransport(transport, self._has_body)
        super().connection_made(self._lingering)
        self._connection = self._counted.at(transport.get_extra_info("socket").fileno())
        self._connection.peer = self
        if self._connection.spare:
            self.app = ProbesOnly(self.app)
        self._headers_since = self._sent_at = self.loop.time()
        self._settle()

    def data_received(self, data: bytes) -> None:
        """Handle bytes; those after a whole request begin the wait for the next one's headers."""
        if self._lingering.is_lingering:
            return
        super().data_received(data)
        if self._in_request or self._in_body:
            self._headers_since = None
        elif self._headers_since is None:
            self._headers_since = self.loop.time()
        self._settle()

    def on_response_complete(self) -> None:
        """End a request."""
        self._answered_at = self.loop.time()
        super().on_response_complete()
        self._settle()

    def resume_writing(self) -> None:
        """The client has read most of what was sent."""
        super().resume_writing()
        self._sent_at = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. One on which a body comes is not idle."""
        if not self._in_body:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, and close: where the next one would begin is not known."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and self.conn.error is not None:
            self.transport.write(raw_answer(self.conn.error))
        self.transport.close()

    def evict(self) -> None:
        """Close it at once, for another connection."""
        self.transport.abort()

    def check_deadlines(self, now: float) -> None:
        """Cut it if a deadline has passed. Called about once a second."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent:
            self._sent_at = now
        self._unsent = unsent
        if now - self._sent_at > self._deadlines.stall:
            log.warning("an answer was cut: its client read nothing for %g s", self._deadlines.stall)
            self.transport.abort()
        elif self._headers_since is not None and now - self._headers_since > self._deadlines.headers:
            self._close_for_headers()
        elif self._in_body and now - self._answered_at > self._deadlines.stall:
            self.transport.close()
        self._settle()

    def _should_upgrade(self) -> bool:
        """Never: a request to change the protocol is answered as if it had not asked, which HTTP allows."""
        return False

    @property
    def _in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _has_body(self) -> bool:
        """Whether a part of a request's body has not arrived."""
        return self.conn.their_state is h11.SEND_BODY

    @property
    def _in_body(self) -> bool:
        """Whether a request was answered before its body has arrived. What still comes is dropped: were the connection
        closed, the kernel would discard the answer, and a client that reads only after sending would see a reset.
        """
        return not self._in_request and self._has_body()

    def _settle(self) -> None:
        now = self.loop.time()
        if self.transport.get_write_buffer_size() == 0:
            self._unread_since = None
        elif self._unread_since is None and not self._in_request:
            self._unread_since = now
        may_be_read = self._unread_since is not None and now - self._unread_since <= self._deadlines.stall
        self._counted.settle(self._connection, idle=not self._in_request and not may_be_read)

    def _close_for_headers(self) -> None:
        """Close it, with an answer where a part of the headers has arrived: nothing was asked otherwise."""
        if self.transport.is_closing():
            return
        has_begun = bool(self.conn.trailing_data[0])
        if has_begun and self.conn.our_state is h11.IDLE:
            self.transport.write(raw_answer(headers_too_slow(self._deadlines.headers)))
        self.transport.close()


def check_all(connections: Iterable[object], now: float) -> None:
    """Check the deadlines of these; `now` is the event loop's time."""
    for each in list(connections):
        if isinstance(each, BoundedProtocol):
            each.check_deadlines(now)
