"""Long-polling and streams: waiting for a change without holding a database session, while the key is valid."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated, Any, TypeVar

from fastapi import Query
from starlette.requests import ClientDisconnect

from app.access import repository
from app.db.signals import Watch
from app.http.errors import revoked
from app.http.services import Caller, Services

T = TypeVar("T")

Wait = Annotated[
    float, Query(ge=0, le=60, description="Seconds to wait for a terminal state before answering with what is there.")
]


class Waiting:
    """The changes of a resource for one caller. Made by `waiting`, before the resource is read."""

    def __init__(self, services: Services, caller: Caller, changes: Watch, key: Watch) -> None:
        self._services, self._caller, self._changes, self._key = services, caller, changes, key
        self._disconnected: asyncio.Future[None] | None = None
        self._key.notify()  # it may have been revoked between its check and the watch

    async def require_key(self) -> None:
        """Raises Unauthorized if the key is revoked. It is read only the first time and after a signal."""
        if not self._key.take():
            return
        try:
            valid = await repository.is_live(self._services.database, self._caller.key_id)
        except BaseException:
            self._key.notify()
            raise
        if not valid:
            raise revoked()

    @asynccontextmanager
    async def while_connected(self) -> AsyncIterator[None]:
        """Make `changed` raise ClientDisconnect during the block, in which nothing else may read from the request."""
        self._disconnected = asyncio.ensure_future(self._caller.disconnected())
        try:
            yield
        finally:
            await _cancelled(self._disconnected)
            self._disconnected = None

    async def changed(self, seconds: float) -> bool:
        """True at a change of the resource or the key; False after this time, or when the service shuts down. Raises
        ClientDisconnect in `while_connected`.
        """
        if self._services.closing.is_set():
            return False
        change = asyncio.ensure_future(self._changes.wait(seconds))
        closing = asyncio.ensure_future(self._services.closing.wait())
        awaited: set[asyncio.Future[Any]] = {change, closing}
        if self._disconnected is not None:
            awaited.add(self._disconnected)
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if self._disconnected is not None and self._disconnected.done():
                self._disconnected.result()
                raise ClientDisconnect
            return change.done() and change.result()
        finally:
            await _cancelled(change)
            await _cancelled(closing)


async def unless_disconnected(caller: Caller, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled once the client is gone: ClientDisconnect is raised then. Nothing else
    may read from the request meanwhile.
    """
    working, gone = asyncio.create_task(work), asyncio.ensure_future(caller.disconnected())
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            gone.result()
            raise ClientDisconnect
        return working.result()
    finally:
        await _cancelled(gone)
        if not working.done():
            await _cancelled(working)


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@contextmanager
def waiting(services: Services, caller: Caller, resource_id: str) -> Iterator[Waiting]:
    """Watch a resource and the caller's key during the block."""
    database = services.database
    with database.watch(resource_id, caller.key_id) as changes, database.watch(caller.key_id) as key:
        yield Waiting(services, caller, changes, key)


async def until(
    services: Services,
    caller: Caller,
    resource_id: str,
    seconds: float,
    load: Callable[[], Awaitable[T]],
    done: Callable[[T], bool],
) -> T:
    """The result of `load` once it is `done`, or after `seconds`, or at shutdown. `load` opens its own session.

    Raises Unauthorized as soon as the caller's key is revoked, and ClientDisconnect once the client is gone.
    """
    if seconds == 0:
        return await load()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with waiting(services, caller, resource_id) as wait:
        async with wait.while_connected():
            while True:
                result = await load()
                if done(result):
                    return result
                await wait.require_key()
                if not await wait.changed(deadline - loop.time()):
                    return result
                await wait.require_key()
