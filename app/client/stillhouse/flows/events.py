"""The events of a job as they happen, across broken connections and a service that restarts."""

from collections.abc import Sequence
from typing import Final

import httpx
from httpx_sse import ServerSentEvent

from stillhouse.documents import Event
from stillhouse.flows.resources import listed
from stillhouse.flows.sending import FIRST_PAUSE, Retries, attempted, not_stillhouse
from stillhouse.flows.steps import Call, Flow, Stream, close, emit, next_piece, open_stream, sleep

_ENDED: Final = 204
KEEP_ALIVE_SECONDS: Final = 45.0
"""The service says something every 15 seconds; after three silent times the connection counts as broken."""


def events(job_id: str, after: int, types: Sequence[str] | None, retries: Retries) -> Flow[None]:
    """Emit every Event after the number `after`, of these types or of all for None, until the job has ended."""
    last = after
    while True:
        stream = yield from _connected(job_id, last, types, retries)
        if stream.response.status_code == _ENDED:
            return
        seen = yield from _followed(stream, last)
        yield from close(stream)
        if seen == last:
            yield from sleep(FIRST_PAUSE)
        last = seen


def past_events(job_id: str, types: Sequence[str] | None, retries: Retries) -> Flow[None]:
    """Emit the Events that there are, of these types or of all for None."""
    return listed(f"/v1/jobs/{job_id}/events", retries, Event, None, {"type": types})


def _connected(job_id: str, last: int, types: Sequence[str] | None, retries: Retries) -> Flow[Stream]:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
    params = {"type": types} if types else {}
    call = Call("GET", f"/v1/jobs/{job_id}/events", params=params, headers=headers, patience=KEEP_ALIVE_SECONDS)
    stream: Stream = yield from attempted(
        call, retries.patient(), lambda call: open_stream(call, "events"), lambda stream: stream.response
    )
    kind = stream.response.headers.get("content-type", "")
    if stream.response.status_code != _ENDED and "text/event-stream" not in kind:
        raise not_stillhouse(stream.response)
    return stream


def _followed(stream: Stream, last: int) -> Flow[int]:
    """Emit what a connection brings until it ends, in whatever way; the number of the last event."""
    try:
        while isinstance(found := (yield from next_piece(stream)), ServerSentEvent):
            if found.data:
                event = Event(found.json())
                last = event.seq
                yield from emit(event)
    except httpx.TransportError:
        pass
    return last
