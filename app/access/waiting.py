"""Long-polling and streams: waiting for a change without holding a database session, while the key is valid."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, TypeVar

from fastapi import Query

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

    async def changed(self, seconds: float) -> bool:
        """True at a change of the resource or the key; False after this time, or when the service shuts down."""
        if self._services.closing.is_set():
            return False
        change = asyncio.ensure_future(self._changes.wait(seconds))
        closing = asyncio.ensure_future(self._services.closing.wait())
        try:
            await asyncio.wait({change, closing}, return_when=asyncio.FIRST_COMPLETED)
            return change.done() and change.result()
        finally:
            for task in (change, closing):
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

    Raises Unauthorized as soon as the caller's key is revoked.
    """
    if seconds == 0:
        return await load()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with waiting(services, caller, resource_id) as wait:
        while True:
            result = await load()
            if done(result):
                return result
            await wait.require_key()
            if not await wait.changed(deadline - loop.time()):
                return result
            await wait.require_key()
