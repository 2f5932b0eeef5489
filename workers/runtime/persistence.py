"""Words to the ledger that must arrive: a database that is away is tried again, for as long as it makes sense."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.db.errors import DatabaseUnavailable

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
_log = logging.getLogger("stillhouse.worker")


async def insist(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Call until the database answers; after `seconds` its error is raised. The call must be safe to repeat."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + seconds, FIRST_PAUSE
    while True:
        try:
            return await call()
        except DatabaseUnavailable as error:
            if loop.time() + pause > deadline:
                raise
            _log.warning("the database is away (%s); trying again in %.1f s", error, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
