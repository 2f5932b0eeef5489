"""Closing a connection on which bytes still come, without the loss of what was sent."""

import asyncio
from collections.abc import Callable
from typing import Any


class LingeringTransport(asyncio.Transport):
    """A connection's transport. Where a body still comes, the first `close` ends the sending side alone, so that the
    client can read the answer: closed with bytes unread, a socket is reset, and the answer discarded. The connection
    ends with the client's side, or by a second `close`.

    `is_lingering`: what arrives is to be dropped.
    """

    def __init__(self, transport: asyncio.Transport, body_comes: Callable[[], bool]) -> None:
        super().__init__()
        self._transport = transport
        self._body_comes = body_comes
        self.is_lingering = False

    def close(self) -> None:
        """Close it once everything is sent, or begin to linger."""
        if self.is_lingering or self._transport.is_closing() or not self._body_comes():
            self._transport.close()
            return
        self.is_lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self.is_lingering or self._transport.is_closing()

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send these bytes."""
        self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """How many bytes are not sent yet."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()
