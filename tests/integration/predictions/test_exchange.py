"""The API's side of predictions under load."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from app.db.engine import Database
from app.queue.predictions import exchange, owners
from app.queue.predictions.exchange import Exchange


async def test_a_slow_look_for_workers_does_not_hide_what_a_later_one_has_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two requests that wait for a connection the earlier one may get its answer last."""
    asked, closing, first_asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    looks: list[Callable[[], Coroutine[Any, Any, object]]] = [asked.wait, lambda: asyncio.sleep(0)]

    class Busy:
        @asynccontextmanager
        async def read(self) -> AsyncIterator[object]:
            yield looks.pop(0)
            await closing.wait()

    async def is_served(session: Any) -> bool:
        first_asked.set()
        await session()
        return True

    monkeypatch.setattr(owners, "is_served", is_served)
    monkeypatch.setattr(exchange, "_SERVED_SECONDS", 0.01)
    tested = Exchange(cast(Database, Busy()), seconds=1.0)
    earlier = asyncio.create_task(tested.is_served())
    await first_asked.wait()
    await asyncio.sleep(0.05)
    later = asyncio.create_task(tested.is_served())
    await asyncio.sleep(0.05)
    asked.set()
    await asyncio.sleep(0.05)
    closing.set()
    assert await earlier
    assert await later
