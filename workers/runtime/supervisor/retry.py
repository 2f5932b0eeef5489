"""Calls to the database that are repeated while it is unavailable."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.db.errors import DatabaseUnavailable

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
_log = logging.getLogger("stillhouse.worker")


async def retry(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Repeat a call until the database answers. Raises its error after `seconds`. The call must be safe to repeat."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + seconds, FIRST_PAUSE
    while True:
        try:
            return await call()
        except DatabaseUnavailable as error:
            if loop.time() + pause > deadline:
                raise
            _log.warning("the database is unavailable (%s); trying again in %.1f s", error, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
