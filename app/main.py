"""The API: `create_app` puts routers, error handlers and the lifespan together. It never imports torch or numpy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, Response
from pydantic import TypeAdapter

from app.contracts.reports.preflight import PreflightReport
from app.contracts.reports.relation import RelationHistory
from app.contracts.reports.report import Report
from app.contracts.specs.jobs import JOB_SPEC
from app.contracts.specs.retries import RETRY_REQUEST
from app.contracts.wire.events import JobEvent
from app.datasets.endpoints import router as datasets
from app.datasets.schemas import Dataset, DatasetPage
from app.datasets.service import DATASETS
from app.db.engine import open_database
from app.errors import ProblemDocument
from app.housekeeping import keep_house
from app.http import openapi, problems
from app.http.services import Services, TheServices
from app.jobs.endpoints import router as jobs
from app.jobs.schemas import DryRun, Job, JobEventPage, JobPage, Metrics
from app.models.endpoints import router as models
from app.models.schemas import Layers, Model, ModelPage
from app.models.service import MODELS
from app.queue.blobs import Blobs
from app.queue.ledger import Ledger
from app.settings import Settings
from app.storage.opening import open_store
from app.storage.space import Space
from app.storage.staging import Staging

DESCRIPTION: Final = "Distils big models into small ones, with an honest report."

SCHEMAS: Final[openapi.Schemas] = {
    "ModelManifest": (MODELS.manifest, "validation"),
    "DatasetManifest": (DATASETS.manifest, "validation"),
    "JobSpec": (JOB_SPEC, "validation"),
    "RetryRequest": (RETRY_REQUEST, "validation"),
    "Model": (TypeAdapter(Model), "serialization"),
    "ModelPage": (TypeAdapter(ModelPage), "serialization"),
    "Layers": (TypeAdapter(Layers), "serialization"),
    "Dataset": (TypeAdapter(Dataset), "serialization"),
    "DatasetPage": (TypeAdapter(DatasetPage), "serialization"),
    "Job": (TypeAdapter(Job), "serialization"),
    "JobPage": (TypeAdapter(JobPage), "serialization"),
    "DryRun": (TypeAdapter(DryRun), "serialization"),
    "JobEvent": (TypeAdapter(JobEvent), "serialization"),
    "JobEventPage": (TypeAdapter(JobEventPage), "serialization"),
    "Metrics": (TypeAdapter(Metrics), "serialization"),
    "Report": (TypeAdapter(Report), "serialization"),
    "RelationHistory": (TypeAdapter(RelationHistory), "serialization"),
    "PreflightReport": (TypeAdapter(PreflightReport), "serialization"),
    "ProblemDocument": (TypeAdapter(ProblemDocument), "serialization"),
}
"""The contracts that the OpenAPI document holds, by the names that operations refer to."""


def open_services(settings: Settings) -> Services:
    """The parts of a process that works on this data directory, database and store; nothing is connected yet."""
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
    )


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API over these settings (from the environment when left out). The schema must be up to date."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = open_services(chosen)
        app.state.services = services
        house = asyncio.create_task(keep_house(services), name="housekeeping")
        try:
            yield
        finally:
            services.closing.set()
            house.cancel()
            with suppress(asyncio.CancelledError):
                await house
            await services.database.close()

    app = FastAPI(
        title="Stillhouse",
        version=version("stillhouse"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(problems.RequestIds)
    problems.install(app)
    for router in (models, datasets, jobs):
        app.include_router(router)
    app.add_api_route("/healthz", _alive, tags=["service"], summary="The process answers.")
    app.add_api_route("/readyz", _ready, tags=["service"], summary="The process can work: its database answers.")
    openapi.install(app, SCHEMAS)
    return app


async def _alive() -> Response:
    return _status("alive")


async def _ready(services: TheServices) -> Response:
    await services.database.ping()
    return _status("ready")


def _status(word: str) -> Response:
    return Response(f'{{"status":"{word}"}}', media_type="application/json")
