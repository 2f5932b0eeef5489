"""The background task of the API process: expired leases, and the retention policy."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from app.db.errors import DatabaseUnavailable
from app.http.services import Services
from app.queue.predictions import owners
from app.storage.errors import StorageError
from app.system.retention.policy import collect

_MOST_SWEEP_SECONDS: Final = 5.0
_COLLECT_SECONDS: Final = 600.0
_log = logging.getLogger(__name__)


async def run_periodically(services: Services) -> None:
    """Run until cancelled. While the database or the store is unavailable, the work is postponed."""
    sweep_seconds = min(_MOST_SWEEP_SECONDS, services.settings.lease_seconds / 4)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_every(sweep_seconds, services, _sweep))
        tasks.create_task(_every(_COLLECT_SECONDS, services, collect))


async def _every(seconds: float, services: Services, work: Callable[[Services], Awaitable[None]]) -> None:
    while True:
        try:
            await work(services)
        except (DatabaseUnavailable, StorageError) as error:
            _log.warning("postponed: %s", error)
        except Exception:
            _log.exception("background work failed; it is tried again in %.0f s", seconds)
        await asyncio.sleep(seconds)


async def _sweep(services: Services) -> None:
    await owners.sweep(services.database)
    released = await services.ledger.sweep()
    if released:
        _log.info("released %d jobs whose lease expired", released)
