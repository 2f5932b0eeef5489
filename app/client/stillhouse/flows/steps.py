"""The steps of a flow: what it asks its driver to do.

A flow is a generator that yields steps and is sent what came of them, as the authentication flows of httpx are. Errors
of httpx are thrown into it. The same flow is driven with and without asyncio (`stillhouse.drivers`).
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, TypeVar

import httpx
from httpx_sse import ServerSentEvent

from stillhouse.documents import JSON as JSON

T = TypeVar("T")


@dataclass(frozen=True)
class Body:
    """What a request carries: JSON, bytes, or the parts of an upload (a manifest and files)."""

    json: Any = None
    content: bytes | None = None
    manifest: str | None = None
    files: tuple[tuple[str, BinaryIO], ...] = ()


@dataclass(frozen=True)
class Call:
    """A request. `path` is below the URL of the service.

    `patience`: seconds that the service may think before it answers, beyond the timeout of the client, as in a long
    poll. `repeatable`: it may be sent again after a failure that leaves open whether it arrived.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    patience: float = 0.0
    repeatable: bool = True


class Stream:
    """A response whose body is read piece by piece: bytes, or server-sent events. Made by a driver."""

    def __init__(self, response: httpx.Response, items: Any) -> None:
        self.response = response
        self.items = items  # an iterator, or an asynchronous one


@dataclass(frozen=True)
class Send:
    """Send a request; the reply is a response that has been read."""

    call: Call


@dataclass(frozen=True)
class Open:
    """Send a request; the reply is a Stream, of which an error (400 and above) has been read."""

    call: Call
    pieces: Literal["bytes", "events"]


@dataclass(frozen=True)
class Next:
    """The reply is the next piece of a stream; None at its end."""

    stream: Stream


@dataclass(frozen=True)
class Close:
    """Close a stream. Drivers close by themselves what is open when a flow ends."""

    stream: Stream


@dataclass(frozen=True)
class Sleep:
    """Do nothing for this time."""

    seconds: float


@dataclass(frozen=True)
class Emit:
    """Hand an item to the caller, who iterates over the flow."""

    item: Any


Step = Send | Open | Next | Close | Sleep | Emit
Piece = bytes | ServerSentEvent | None
Flow = Generator[Step, Any, T]


def send(call: Call) -> Flow[httpx.Response]:
    """Take the step Send."""
    response: httpx.Response = yield Send(call)
    return response


def open_stream(call: Call, pieces: Literal["bytes", "events"]) -> Flow[Stream]:
    """Take the step Open."""
    stream: Stream = yield Open(call, pieces)
    return stream


def next_piece(stream: Stream) -> Flow[Piece]:
    """Take the step Next."""
    piece: Piece = yield Next(stream)
    return piece


def close(stream: Stream) -> Flow[None]:
    """Take the step Close."""
    yield Close(stream)


def sleep(seconds: float) -> Flow[None]:
    """Take the step Sleep."""
    yield Sleep(seconds)


def emit(item: Any) -> Flow[None]:
    """Take the step Emit."""
    yield Emit(item)


class Running:
    """A flow while it is driven: give it `reply` or `error`, then take its next `step`; it ends with a `result`."""

    def __init__(self, flow: Flow[Any]) -> None:
        self._flow = flow
        self.reply: Any = None
        self.error: Exception | None = None
        self.result: Any = None

    def step(self) -> Step | None:
        """The next step, or None at the end."""
        reply, error, self.reply, self.error = self.reply, self.error, None, None
        try:
            return self._flow.send(reply) if error is None else self._flow.throw(error)
        except StopIteration as stop:
            self.result = stop.value
            return None
