"""What endpoints depend on: created once in the lifespan, passed on as a dependency, never global."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from app.db.clock import utcnow
from app.db.engine import Database, open_database
from app.http.bodies import Pace
from app.http.limits import Buckets
from app.queue.blobs import Blobs
from app.queue.keys.quotas import Remembered
from app.queue.ledger import Ledger
from app.queue.predictions.exchange import Exchange
from app.queue.submission import Submissions
from app.settings import Settings
from app.storage.opening import open_store
from app.storage.space import Space
from app.storage.staging import Staging
from app.storage.store import BlobStore


@dataclass(frozen=True)
class Services:
    """Settings, database and storage of an API process."""

    settings: Settings
    database: Database
    ledger: Ledger
    store: BlobStore
    blobs: Blobs
    staging: Staging
    space: Space
    predictions: Exchange
    requests: Buckets
    """Requests by the id of their key."""
    submissions: Submissions
    """Submissions of jobs that wait for a transaction."""
    wrong_keys: Buckets
    """Wrong keys by the block of addresses that sends them."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set at shutdown: streams and long-polls end then."""
    open_uploads: Counter[str] = field(default_factory=Counter)
    """How many uploads are being received, by the id of their key."""
    started_at: datetime = field(default_factory=utcnow)
    open_waits: Counter[str] = field(default_factory=Counter)
    """How many long polls and streams are open, by the id of their key."""

    @property
    def pace(self) -> Pace:
        """What request bodies must keep to."""
        return Pace(self.settings.body_seconds, self.settings.body_bytes_per_second)


async def _never() -> None:
    await asyncio.Event().wait()


@dataclass(frozen=True)
class Caller:
    """The API key of a request, and the project whose rows it may read and write."""

    key_id: str
    project_id: str
    disconnected: Callable[[], Awaitable[None]] = field(default=_never, compare=False, repr=False)
    """Returns when the client has closed its connection. It reads what is left of the body."""

    @classmethod
    def of(cls, request: Request, key_id: str, project_id: str) -> "Caller":
        """The caller of this request."""
        return cls(key_id, project_id, partial(_disconnected, request))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def open_services(settings: Settings) -> Services:
    """Open data directory, database and store. Nothing is connected yet."""
    settings.prepared()
    database = open_database(settings.database)
    store = open_store(settings.store_url or None, settings.data_dir)
    return Services(
        settings=settings,
        database=database,
        ledger=Ledger(database, settings.lease_seconds),
        store=store,
        blobs=Blobs(database, store),
        staging=Staging(settings.staging_dir),
        space=Space(settings.staging_dir, settings.spare_disk_bytes),
        predictions=Exchange(database, settings.prediction_seconds),
        submissions=Submissions(database, Remembered(settings.queued_jobs_per_key, settings.bytes_per_key)),
        requests=Buckets(settings.requests_per_second, settings.request_burst),
        wrong_keys=Buckets(settings.wrong_keys_per_minute / 60.0, settings.wrong_keys_per_minute),
    )


async def services_of(request: Request) -> Services:
    """Dependency: the services of this process."""
    services: Services = request.app.state.services
    return services


TheServices = Annotated[Services, Depends(services_of)]
