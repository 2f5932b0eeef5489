"""`GET /v1/models/{id}/bundle`: everything that a model needs where it will run, as one zip."""

import hashlib
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.rows import JobRow, ModelRow, ReportRow
from app.http.errors import Conflict, NotFound
from app.http.files import ServedFile
from app.http.services import Caller, Services
from app.models.bundle.bundled import BundledModel
from app.models.bundle.parts import Members, members_of
from app.models.service import MODELS, export_and_wait
from app.resources import service as resources
from app.resources.blob_parts import BlobParts, BlobSpan
from app.resources.blob_zip import zip_of

_MOST_LAYOUTS: Final = 64
_layouts: dict[str, tuple[BlobSpan | bytes, ...]] = {}
"""Digest of the members -> parts of their zip: its checksums cost a pass over the files."""


async def bundle(services: Services, caller: Caller, identity: str, wait: float) -> ServedFile:
    """The bundle of a ready model of a family; with `wait` its graph is made first where it has none.

    Raises NotFound, Conflict.
    """
    row = resources.require_ready(MODELS, await resources.get(MODELS, services, caller, identity))
    if (row.facts or {}).get("architecture") is None:
        raise Conflict(
            "no_architecture",
            "a bundle is made of a model of a family, and this one is a graph of its own: download it by "
            f"`GET /v1/models/{row.id}/weights`",
        )
    if wait > 0.0 and not _has_graph(row):
        await export_and_wait(services, caller, row.id, "onnx", wait)
        row = resources.require_ready(MODELS, await resources.get(MODELS, services, caller, identity))
    if not _has_graph(row):
        raise NotFound(
            "no_such_format",
            "a bundle needs the model's onnx file, which it has not yet: `?wait=60` here makes it and waits for it, "
            f'or `POST /v1/models/{row.id}/exports` with `{{"format": "onnx"}}`',
        )
    async with services.database.read() as session:
        report = await _report_of(session, row)
    members = members_of(BundledModel.of(row, report))
    digest = _digest(members)
    parts = BlobParts(services.store, await _layout(services, digest, members))
    return await parts.served(f"{row.id}.zip", digest, "bundle")


def _has_graph(row: ModelRow) -> bool:
    return any(file.role == "onnx" for file in row.files)


async def _report_of(session: AsyncSession, row: ModelRow) -> dict[str, Any] | None:
    """The report of the job whose student this is: its figures are not those of peers."""
    query = select(ReportRow.report).join(JobRow, JobRow.id == ReportRow.job_id)
    return await session.scalar(query.where(JobRow.id == row.source_job_id, JobRow.student_id == row.id))


def _digest(members: Members) -> str:
    """Of names and contents: equal members make equal zips."""
    digest = hashlib.sha256()
    for name, content in members.items():
        known = content.sha256 if isinstance(content, BlobSpan) else hashlib.sha256(content).hexdigest()
        digest.update(f"{name}\0{known}\n".encode())
    return digest.hexdigest()


async def _layout(services: Services, digest: str, members: Members) -> tuple[BlobSpan | bytes, ...]:
    known = _layouts.get(digest)
    if known is None:
        known = (await zip_of(services.store, members)).parts
        while len(_layouts) >= _MOST_LAYOUTS:
            _layouts.pop(next(iter(_layouts)))
        _layouts[digest] = known
    return known
