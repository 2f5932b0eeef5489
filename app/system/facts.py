"""What the service is."""

import asyncio
import platform
import shutil
from importlib.metadata import version
from typing import Final, Literal
from urllib.parse import urlsplit

from sqlalchemy import func, literal_column, select

from app.contracts.wire.workers import Disk
from app.http.services import Services
from app.settings import Settings
from app.system.schemas import DatabaseFacts, System

_PACKAGES: Final = ("fastapi", "uvicorn", "pydantic", "sqlalchemy")
_LIMITS: Final = (
    "requests_per_second",
    "request_burst",
    "uploads_per_key",
    "waits_per_key",
    "queued_jobs_per_key",
    "bytes_per_key",
    "max_upload_bytes",
    "kept_hours",
    "events_kept_days",
    "metrics_kept_days",
    "checkpoint_kept_hours",
    "session_hours",
)
"""Settings that a user of the service meets; none of them is secret."""


async def system_of(services: Services) -> System:
    """The service as it is now."""
    settings = services.settings
    space = await asyncio.to_thread(shutil.disk_usage, settings.staging_dir)
    return System(
        version=version("stillhouse"),
        python=platform.python_version(),
        started_at=services.started_at,
        database=await _database(services),
        store=_store(settings),
        disk=Disk(total_bytes=space.total, free_bytes=space.free),
        packages={name: version(name) for name in _PACKAGES},
        limits={name: float(getattr(settings, name)) for name in _LIMITS},
    )


async def _database(services: Services) -> DatabaseFacts:
    kind: Literal["sqlite", "postgresql"] = "sqlite" if services.settings.embedded else "postgresql"
    asked = func.sqlite_version() if kind == "sqlite" else literal_column("current_setting('server_version')")
    async with services.database.read() as session:
        return DatabaseFacts(kind=kind, version=str(await session.scalar(select(asked))))


def _store(settings: Settings) -> str:
    return urlsplit(settings.store_url).scheme or "file"
