"""One split of a job's predictions: a file of its own."""

from app.contracts.resources.splits import SplitName
from app.contracts.wire.orders import PREDICTIONS_ROLES
from app.http.errors import NotFound
from app.http.files import ServedFile, blob
from app.http.services import Services
from app.jobs import repository

_ALL_SPLITS = "predictions"
"""The role of a file with every split, which workers of an earlier version leave (decision 0105)."""


async def of_split(services: Services, job_id: str, split: SplitName) -> ServedFile:
    """The predictions of a job that has succeeded. Raises NotFound where it left none on such rows."""
    async with services.database.read() as session:
        files = await repository.artifacts(session, job_id)
    if file := files.get(PREDICTIONS_ROLES[split]):
        return blob(services, f"{job_id}-{split}.npz", file.bytes, file.sha256)
    if file := files.get(_ALL_SPLITS):
        return blob(services, f"{job_id}.npz", file.bytes, file.sha256)
    found = sorted(name for name, role in PREDICTIONS_ROLES.items() if role in files)
    if not found:
        raise NotFound("no_such_file", "this job left no predictions file: only jobs that train have one")
    raise NotFound("no_such_split", f"there are no predictions on {split} rows: the splits with rows are {found}")
