"""Long-polling and streams: waiting for a change without holding a database session, and ending at shutdown."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, TypeVar

from fastapi import Query

from app.db.signals import Watch
from app.http.services import Services

T = TypeVar("T")

Wait = Annotated[
    float, Query(ge=0, le=60, description="Seconds to wait for a terminal state before answering with what is there.")
]


async def changed(services: Services, watch: Watch, seconds: float) -> bool:
    """Wait for a change (True), until the time has passed or the service shuts down (False)."""
    if services.closing.is_set():
        return False
    change = asyncio.ensure_future(watch.wait(seconds))
    closing = asyncio.ensure_future(services.closing.wait())
    try:
        await asyncio.wait({change, closing}, return_when=asyncio.FIRST_COMPLETED)
        return change.done() and change.result()
    finally:
        for task in (change, closing):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(
    services: Services, resource_id: str, seconds: float, load: Callable[[], Awaitable[T]], done: Callable[[T], bool]
) -> T:
    """The result of `load` once it is `done`, or after `seconds`, or at shutdown. `load` opens its own session."""
    if seconds == 0:
        return await load()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with services.database.watch(resource_id) as watch:
        while True:
            result = await load()
            if done(result) or not await changed(services, watch, deadline - loop.time()):
                return result
