"""The operations that models and datasets share: create, get, list, update, delete. Each is one transaction."""

from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.access import limits
from app.access.waiting import until
from app.contracts.resources.predictions import PREDICTIONS
from app.contracts.states import ModelState
from app.db.base import json_text
from app.db.clock import utcnow
from app.db.ids import new_id
from app.db.rows import DatasetRow, FileRow
from app.db.signals import announce
from app.http.errors import Conflict, Invalid, NotFound
from app.http.services import Caller, Services
from app.queue import idempotency
from app.queue.blobs import mark_stored, release_blobs
from app.queue.inputs import needs
from app.queue.records import NewJob, UnusableInput
from app.resources import repository
from app.resources.kinds import M, R, ResourceKind, V
from app.resources.uploads import Received


async def create(
    kind: ResourceKind[R, M, V], services: Services, caller: Caller, session: AsyncSession, received: Received[M]
) -> R:
    """Insert the row of an upload whose blobs are published, and queue its inspection."""
    manifest = received.manifest
    await limits.admit_job(services, caller, session, sum(each.staged.bytes for each in received.files))
    await mark_stored(session, [each.staged.sha256 for each in received.files])
    row = kind.new_row(manifest)
    row.id = new_id(kind.prefix)
    row.project_id = caller.project_id
    row.files = [
        FileRow(
            project_id=caller.project_id,
            key_id=caller.key_id,
            position=position,
            name=each.name,
            role=kind.role(manifest),
            bytes=each.staged.bytes,
            sha256=each.staged.sha256,
        )
        for position, each in enumerate(received.files)
    ]
    await repository.add(session, row)
    await _queue_inspection(kind, services, caller, session, row.id, manifest)
    return row


async def _queue_inspection(
    kind: ResourceKind[R, M, V], services: Services, caller: Caller, session: AsyncSession, identity: str, manifest: M
) -> None:
    """Raises Invalid where the inspection reads a dataset that cannot be used."""
    spec = kind.inspection(identity, manifest)
    if spec.of is not None:
        await require_rows(session, caller, spec.of, "/of")
    try:
        await services.ledger.submit(session, NewJob(spec=spec, project_id=caller.project_id, key_id=caller.key_id))
    except UnusableInput as error:
        raise _unusable(error.found, "/of") from None
    announce(session, identity)


async def require_rows(session: AsyncSession, caller: Caller, identity: str, pointer: str) -> None:
    """Raise Invalid where the dataset at `pointer` is predictions, which have no inputs."""
    row = await repository.find(session, DatasetRow, caller.project_id, identity)
    if row is not None and row.format == PREDICTIONS:
        detail = f"expected a dataset with inputs, found predictions for rows of {row.manifest['of']}: name that one"
        raise Invalid.at(pointer, "not_a_dataset", detail)


def _unusable(found: str, pointer: str) -> Invalid:
    if found == "missing":
        return Invalid.at(pointer, "unknown_dataset", "there is no such dataset: `GET /v1/datasets` lists them")
    detail = "the inspection refused this dataset: correct its manifest by PATCH, or name another"
    return Invalid.at(pointer, "rejected_input", detail)


async def get(kind: ResourceKind[R, M, V], services: Services, caller: Caller, identity: str, wait: float = 0.0) -> R:
    """The row with its files. Waits up to `wait` seconds while it is being verified. Raises NotFound."""

    async def load() -> R:
        async with services.database.read() as session:
            return _existing(kind, await repository.find(session, kind.row, caller.project_id, identity))

    with limits.counted_wait(services, caller, wait):
        return await until(services, caller, identity, wait, load, lambda row: row.state != "verifying")


async def listed(
    kind: ResourceKind[R, M, V],
    services: Services,
    caller: Caller,
    after: str | None,
    limit: int,
    state: ModelState | None,
    fmt: str | None,
) -> list[tuple[str, V]]:
    """Up to `limit + 1` entries, newest first."""
    filters = {name: value for name, value in (("state", state), ("format", fmt)) if value is not None}
    async with services.database.read() as session:
        rows = await repository.newest(session, kind.row, caller.project_id, after, limit + 1, filters)
    return [(row.id, kind.view(row)) for row in rows]


async def update(
    kind: ResourceKind[R, M, V], services: Services, caller: Caller, identity: str, changes: dict[str, Any]
) -> V:
    """Change the manifest of a rejected resource, and queue another inspection.

    Named fields replace the old ones; null restores the default. Raises NotFound, Conflict, BadRequest, Invalid.
    """
    async with services.database.write() as session:
        await limits.admit_job(services, caller, session)
        row = _existing(kind, await repository.find(session, kind.row, caller.project_id, identity, lock=True))
        files = _rejected_files(kind, services, row)
        document = {name: value for name, value in {**row.manifest, **changes}.items() if value is not None}
        manifest = kind.read_manifest(json_text(document).encode())
        manifest = kind.with_files(manifest, [file.name for file in files])
        for file in files:
            path = services.store.local_path(file.sha256)
            if path is not None:
                kind.check_file(manifest, path)
            file.role = kind.role(manifest)
        row.name, row.format = manifest.name, manifest.format
        row.manifest = manifest.model_dump(mode="json")
        row.state, row.state_since, row.rejection = "verifying", utcnow(), None
        await session.flush()
        await _queue_inspection(kind, services, caller, session, row.id, manifest)
        return kind.view(row)


def _rejected_files(kind: ResourceKind[R, M, V], services: Services, row: R) -> list[FileRow]:
    if row.state != "rejected":
        raise Conflict(
            "not_rejected",
            f"the manifest can change only while the {kind.noun} is rejected, and it is {row.state}: upload it again",
        )
    kept = timedelta(hours=services.settings.kept_hours)
    if not row.files or utcnow() - row.state_since > kept:
        raise Conflict(
            "bytes_gone", f"rejected files are kept for {kept.total_seconds() / 3600:g} h: upload the file again"
        )
    return row.files


async def delete(kind: ResourceKind[R, M, V], services: Services, caller: Caller, identity: str) -> None:
    """Delete the row, and the answers that name it. Raises NotFound, and Conflict while an unfinished job needs it."""
    async with services.database.write() as session:
        row = _existing(kind, await repository.find(session, kind.row, caller.project_id, identity, lock=True))
        jobs = await needs.needed_by(session, identity)
        if jobs:
            raise Conflict(
                "in_use", f"{len(jobs)} unfinished jobs need this {kind.noun}, for example {jobs[0]}: cancel them first"
            )
        files = row.files
        await session.delete(row)
        await session.flush()
        for key_id in {file.key_id for file in files}:
            await release_blobs(session, [file.sha256 for file in files if file.key_id == key_id], key_id)
        await idempotency.forget(session, kind.location(identity))
        announce(session, identity)


def _existing(kind: ResourceKind[R, M, V], row: R | None) -> R:
    if row is None:
        detail = (
            f"there is no {kind.noun} with this id (they begin with `{kind.prefix}_`); `GET {kind.path}` lists them"
        )
        raise NotFound(f"unknown_{kind.noun}", detail)
    return row


def require_ready(kind: ResourceKind[R, M, V], row: R) -> R:
    """The same row; raises Conflict unless its inspection has succeeded."""
    if row.state == "rejected":
        raise Conflict(
            "not_ready",
            f"the inspection refused this {kind.noun}: `GET {kind.path}/{row.id}` says why in `rejection`; correct the "
            "manifest by PATCH there, or upload another file",
        )
    if row.state != "ready":
        raise Conflict(
            "not_ready", f"the {kind.noun} is {row.state}: `GET {kind.path}/{row.id}?wait=60` waits for the inspection"
        )
    return row
