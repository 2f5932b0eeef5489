"""Events of a job as a list or as server-sent events, read in pages, so that a slow client holds no session."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.access.limits import counted_wait
from app.access.waiting import waiting
from app.contracts.base import canonical_json
from app.contracts.states import TERMINAL
from app.contracts.wire.events import EventType, JobEvent
from app.db.errors import DatabaseUnavailable
from app.http.errors import NotFound, Unauthorized
from app.http.services import Caller, Services
from app.jobs import service
from app.jobs.events import repository
from app.jobs.events.repository import StoredEvent
from app.jobs.repository import StoredJob

KEEP_ALIVE_SECONDS: Final = 15.0
RETRY_MILLISECONDS: Final = 1000
_PAGE: Final = 500


async def events(
    services: Services, job_id: str, seq: int, limit: int, types: Sequence[EventType] = ()
) -> list[JobEvent]:
    """Up to `limit` events after `seq`, of these types, or of all without any."""
    return [_view(row) for row in await repository.events_after(services.database, job_id, seq, limit, types)]


async def sample(
    services: Services, job_id: str, seq: int, most: int, types: Sequence[EventType] = ()
) -> list[JobEvent]:
    """So many events at most, spread evenly over all of these types after `seq`, the newest among them."""
    return [_view(row) for row in await repository.sampled(services.database, job_id, seq, most, types)]


def _view(row: StoredEvent) -> JobEvent:
    return JobEvent.model_validate({"seq": row.seq, "type": row.type, "time": row.time, "data": row.data})


async def server_sent(
    services: Services, caller: Caller, job_id: str, seq: int, types: Sequence[EventType] = ()
) -> AsyncIterator[bytes]:
    """The events after `seq` as they happen, of these types, or of all without any, until the job has ended, the key is
    revoked or the service shuts down.

    A client resumes an interrupted stream with `Last-Event-ID`; regular comments keep the connection open.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    with waiting(services, caller, job_id) as wait:
        while True:
            try:
                await wait.require_key()
                row, new, last = await _read(services, caller, job_id, seq, types)
            except DatabaseUnavailable as error:  # the response has started, so it can only wait
                if services.closing.is_set():
                    return
                yield b": the database is unavailable\n\n"
                await wait.changed(error.retry_after)
                continue
            except NotFound:  # it has ended and was deleted since the stream began
                return
            except Unauthorized:  # a client that comes back gets the error
                return
            for event in new:
                seq = event.seq
                yield _frame(_view(event))
            if len(new) == _PAGE:
                continue
            seq = max(seq, last)
            if row.state in TERMINAL or services.closing.is_set():
                return
            if not await wait.changed(KEEP_ALIVE_SECONDS):
                yield b": keep-alive\n\n"


class EventStream(StreamingResponse):
    """The stream of a job's events, counted while it is open. TooMany is raised before the response has started."""

    def __init__(
        self, services: Services, caller: Caller, job_id: str, seq: int, types: Sequence[EventType] = ()
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        body = server_sent(services, caller, job_id, seq, types)
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self._services, self._caller = services, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        if scope["method"] == "HEAD":  # it would be open until the job ends, without a byte
            self.body_iterator = _nothing()
        with counted_wait(self._services, self._caller):
            await super().__call__(scope, receive, send)


async def _nothing() -> AsyncIterator[bytes]:
    none: tuple[bytes, ...] = ()
    for piece in none:
        yield piece


async def _read(
    services: Services, caller: Caller, job_id: str, seq: int, types: Sequence[EventType]
) -> tuple[StoredJob, Sequence[StoredEvent], int]:
    """The job first, then its events: once a job has ended, all its events are written. And up to which number they are
    read, so that events of other types are not read again.
    """
    row = await service.get(services, caller, job_id)
    last = await repository.last(services.database, job_id) if types else seq
    return row, await repository.events_after(services.database, job_id, seq, _PAGE, types), last


def _frame(event: JobEvent) -> bytes:
    data = canonical_json(event)
    return f"id: {event.seq}\nevent: {event.type}\ndata: {data}\n\n".encode()
