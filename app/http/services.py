"""What endpoints work with: made once in the lifespan, handed on as a dependency, never global."""

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from app.db.engine import Database
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.settings import Settings
from app.storage.space import Space
from app.storage.staging import Staging
from app.storage.store import BlobStore


@dataclass(frozen=True)
class Services:
    """The parts of a running API process."""

    settings: Settings
    database: Database
    ledger: Ledger
    store: BlobStore
    blobs: Blobs
    staging: Staging
    space: Space
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is told to stop: streams and long-polls end then."""


@dataclass(frozen=True)
class Caller:
    """The key behind a request, and whose rows it may see."""

    key_id: str
    project_id: str


async def services_of(request: Request) -> Services:
    """Dependency: the process's parts."""
    services: Services = request.app.state.services
    return services


TheServices = Annotated[Services, Depends(services_of)]
