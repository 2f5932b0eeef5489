"""The API: `create_app` puts routers, error handlers and the lifespan together. It never imports torch or numpy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from pydantic import TypeAdapter

from app.access.hosts import AllowedHosts, allowed_hosts
from app.access.known_keys import KnownKeys
from app.contracts.reports.compare import Comparison
from app.contracts.reports.preflight import PreflightReport
from app.contracts.reports.relation import RelationHistory
from app.contracts.reports.report import ExportReport, Report
from app.contracts.resources.manifests import DatasetManifest
from app.contracts.resources.predictions import PredictionsManifest
from app.contracts.resources.preview import Preview
from app.contracts.specs.jobs import JOB_SPEC
from app.contracts.specs.requests.exports import EXPORT_REQUEST
from app.contracts.specs.requests.predictions import PREDICT_REQUEST
from app.contracts.specs.requests.retries import RETRY_REQUEST
from app.contracts.wire.events import JobEvent
from app.datasets.endpoints import router as datasets
from app.datasets.schemas import Dataset, DatasetPage
from app.http import problems
from app.http.answers import changes_name
from app.http.docs import openapi, page
from app.http.errors import ProblemDocument
from app.http.health import Health
from app.http.health import router as health
from app.http.services import open_services
from app.jobs.comparing.endpoints import router as compare
from app.jobs.endpoints import router as jobs
from app.jobs.exports import router as exports
from app.jobs.schemas import DryRun, Job, JobEventPage, JobPage, Metrics
from app.models.endpoints import router as models
from app.models.predictions.endpoints import router as predictions
from app.models.predictions.schemas import Prediction
from app.models.schemas import Layers, Model, ModelPage
from app.models.service import MODELS
from app.retention.periodic import run_periodically
from app.settings import Settings
from app.system.endpoints import router as system
from app.system.schemas import Names, Queue, System
from app.ui import pages
from app.ui.sessions import router as sign_in

DESCRIPTION: Final = """Distils big models into small ones, with an honest report.

Every path under `/v1` needs an API key: `Authorization: Bearer <key>`. Errors are `application/problem+json` (RFC 9457)
with a stable `code`. Lists are paged: send `next` of a page as `after` to get the following one. A `POST` that is
repeated with the same `Idempotency-Key` and content gets the first answer again, until what it made is deleted."""

TAGS: Final = [
    {"name": "models", "description": "Uploaded and trained models: teachers and students."},
    {"name": "datasets", "description": "Uploaded data, with inputs, targets and splits."},
    {"name": "jobs", "description": "Training and distillation, their progress and their results."},
    {"name": "system", "description": "The queue, its workers, and the service itself."},
    {"name": "service", "description": "Probes, which need no key."},
]

SCHEMAS: Final[openapi.Schemas] = {
    "ModelManifest": MODELS.manifest,
    "DatasetManifest": TypeAdapter(DatasetManifest),
    "PredictionsManifest": TypeAdapter(PredictionsManifest),
    "JobSpec": JOB_SPEC,
    "RetryRequest": RETRY_REQUEST,
    "ExportRequest": EXPORT_REQUEST,
    "Model": TypeAdapter(Model),
    "ModelPage": TypeAdapter(ModelPage),
    "Layers": TypeAdapter(Layers),
    "PredictRequest": PREDICT_REQUEST,
    "Prediction": TypeAdapter(Prediction),
    "Dataset": TypeAdapter(Dataset),
    "DatasetPage": TypeAdapter(DatasetPage),
    "Job": TypeAdapter(Job),
    "JobPage": TypeAdapter(JobPage),
    "DryRun": TypeAdapter(DryRun),
    "JobEvent": TypeAdapter(JobEvent),
    "JobEventPage": TypeAdapter(JobEventPage),
    "Metrics": TypeAdapter(Metrics),
    "Report": TypeAdapter(Report),
    "RelationHistory": TypeAdapter(RelationHistory),
    "PreflightReport": TypeAdapter(PreflightReport),
    "ExportReport": TypeAdapter(ExportReport),
    "Comparison": TypeAdapter(Comparison),
    "Preview": TypeAdapter(Preview),
    "Queue": TypeAdapter(Queue),
    "System": TypeAdapter(System),
    "Names": TypeAdapter(Names),
    "ProblemDocument": TypeAdapter(ProblemDocument),
    "Health": TypeAdapter(Health),
}
"""The contracts that the OpenAPI document holds, by the names that operations refer to."""

CHANGES: Final = {changes_name(name): name for name in ("ModelManifest", "DatasetManifest", "PredictionsManifest")}
"""Schemas of some fields of a manifest, by their names."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API over these settings (from the environment when left out). The schema must be up to date."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = open_services(chosen)
        app.state.services = services
        app.state.keys = keys = KnownKeys(services.database)
        background = asyncio.create_task(run_periodically(services), name="retention")
        try:
            yield
        finally:
            services.closing.set()
            background.cancel()
            with suppress(asyncio.CancelledError):
                await background
            keys.forget()
            await services.predictions.close()
            await services.database.close()

    app = FastAPI(
        title="Stillhouse",
        version=version("stillhouse"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        openapi_url=None,  # FastAPI's route makes the document's bytes for each request
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(AllowedHosts, allowed=allowed_hosts(chosen))
    app.add_middleware(problems.RequestIds)  # the outermost
    problems.install(app)
    # The routes themselves: FastAPI searches an included router twice. Those of most requests come first.
    for router in (jobs, models, predictions, exports, datasets, compare, system, health):
        app.router.routes.extend(router.routes)
    app.router.routes.extend(openapi.by_head(app.router.routes))
    page.install(app)
    app.include_router(sign_in)
    pages.install(app)
    openapi.install(app, SCHEMAS, CHANGES)
    return app
