"""`GET /v1/datasets/{id}/preview`."""

from dataclasses import replace

from app.datasets.service import DATASETS
from app.http.errors import NotFound
from app.http.files import ServedFile, blob
from app.http.services import Caller, Services
from app.resources import service as resources


async def preview(services: Services, caller: Caller, identity: str) -> ServedFile:
    """The preview that the inspection of a ready dataset made, as JSON. Raises NotFound, Conflict."""
    row = resources.require_ready(DATASETS, await resources.get(DATASETS, services, caller, identity))
    file = next((each for each in row.files if each.role == "preview"), None)
    if file is None:
        raise NotFound(
            "no_preview",
            "expected a dataset of rows that was uploaded with this version or later, found predictions or an older "
            "one, which have no preview: upload the rows again",
        )
    return replace(blob(services, f"{row.id}.preview.json", file.bytes, file.sha256), media_type="application/json")
