"""What the API process does besides answering: sweeps leases, forgets old answers, collects unused bytes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from app import retention
from app.db.errors import DatabaseUnavailable
from app.http.services import Services
from app.storage.errors import StorageError

_MOST_SWEEP_SECONDS: Final = 5.0
_TIDY_SECONDS: Final = 600.0
_log = logging.getLogger(__name__)


async def keep_house(services: Services) -> None:
    """Runs until it is cancelled. A database that is gone is waited for."""
    sweep_seconds = min(_MOST_SWEEP_SECONDS, services.settings.lease_seconds / 4)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_every(sweep_seconds, services, _sweep))
        tasks.create_task(_every(_TIDY_SECONDS, services, tidy))


async def _every(seconds: float, services: Services, work: Callable[[Services], Awaitable[None]]) -> None:
    while True:
        try:
            await work(services)
        except (DatabaseUnavailable, StorageError) as error:
            _log.warning("put off: %s", error)
        except Exception:
            _log.exception("housekeeping failed, and goes on")
        await asyncio.sleep(seconds)


async def _sweep(services: Services) -> None:
    released = await services.ledger.sweep()
    if released:
        _log.info("released %d jobs whose lease ran out", released)


async def tidy(services: Services) -> None:
    """Be rid of what has been kept long enough."""
    await retention.collect(services)
