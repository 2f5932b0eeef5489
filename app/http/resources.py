"""What models and datasets have in common: uploaded, inspected, listed, mended, deleted.

Each operation is one function and one transaction. A `Kind` says how the two differ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Generic, Literal, TypeVar

from fastapi import Request, Response
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.base import Answer, canonical_json
from app.contracts.resources.facts import FileRole
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.specs.jobs import InspectJob
from app.contracts.states import ModelState
from app.db.base import json_text
from app.db.clock import utcnow
from app.db.ids import Prefix, new_id
from app.db.rows import DatasetRow, FileRow, ModelRow
from app.db.signals import announce
from app.errors import Conflict, Invalid, NotFound
from app.http import stored, strict_json
from app.http.answers import json_answer
from app.http.bodies import read_json
from app.http.formats import check_format, kind_of_file, refuse_named
from app.http.keyed import fingerprint_of, held, replay
from app.http.services import Caller, Services
from app.http.uploads import Received, receive
from app.http.validation import validate
from app.http.waiting import until
from app.queue import needs
from app.queue.blobs import settle
from app.queue.idempotency import Answer as FirstAnswer
from app.queue.records import NewJob

R = TypeVar("R", ModelRow, DatasetRow)
M = TypeVar("M", ModelManifest, DatasetManifest)
V = TypeVar("V", bound=Answer)


@dataclass(frozen=True)
class Kind(Generic[R, M, V]):
    """Models or datasets."""

    noun: Literal["model", "dataset"]
    prefix: Prefix
    row: type[R]
    make: Callable[[M], R]
    manifest: TypeAdapter[M]
    formats: Mapping[str, str | None]  # format -> the kind of its bytes (`formats.kind_of_file`)
    role: Callable[[M], FileRole]
    view: Callable[[R], V]

    @property
    def path(self) -> str:
        """Where the collection lives."""
        return f"/v1/{self.noun}s"

    def read_manifest(self, data: bytes) -> M:
        """A manifest from JSON; raises BadRequest or Invalid. Refused formats are named before all else."""
        parsed = strict_json.parse(data)
        refuse_named(parsed, tuple(self.formats))
        return validate(self.manifest, data, parsed=parsed)

    def check_file(self, manifest: M, path: Path) -> None:
        """Are these the bytes that the manifest says?"""
        check_format(manifest.format, kind_of_file(path), self.formats)

    def inspection(self, identity: str) -> InspectJob:
        """The job that looks at the bytes in depth."""
        return InspectJob(model=identity) if self.noun == "model" else InspectJob(dataset=identity)


async def upload(
    kind: Kind[R, M, V], services: Services, caller: Caller, request: Request, key: str | None
) -> Response:
    """`POST`: the bytes are on the disk and in the store, the row is committed, the inspection is queued."""
    async with (
        held(services, caller, key) as hold,
        receive(services, request, kind.read_manifest, kind.check_file) as received,
    ):
        content = [canonical_json(received.manifest), received.staged.sha256]
        fingerprint = fingerprint_of(f"POST {kind.path}", content)
        before = hold.answered(fingerprint)
        if before is not None:
            return replay(before)
        await services.blobs.publish(received.staged.path, received.staged.sha256)
        async with services.database.write() as session:
            view, location = await _insert(kind, services, caller, session, received)
            answer = FirstAnswer(201, view.model_dump_json(by_alias=True), location)
            await hold.remember(session, fingerprint, answer)
    return json_answer(view, 201, {"Location": location})


async def _insert(
    kind: Kind[R, M, V], services: Services, caller: Caller, session: AsyncSession, received: Received[M]
) -> tuple[V, str]:
    manifest, staged = received.manifest, received.staged
    await settle(session, [staged.sha256])
    row = kind.make(manifest)
    row.id = new_id(kind.prefix)
    row.project_id = caller.project_id
    row.files = [
        FileRow(
            project_id=caller.project_id,
            name=received.file_name or f"{kind.noun}.{manifest.format}",
            role=kind.role(manifest),
            bytes=staged.bytes,
            sha256=staged.sha256,
        )
    ]
    session.add(row)
    await session.flush()
    await _inspect(kind, services, caller, session, row.id)
    return kind.view(row), f"{kind.path}/{row.id}"


async def _inspect(
    kind: Kind[R, M, V], services: Services, caller: Caller, session: AsyncSession, identity: str
) -> None:
    job = NewJob(spec=kind.inspection(identity), project_id=caller.project_id, key_id=caller.key_id)
    await services.ledger.submit(session, job)
    announce(session, identity)


async def get(kind: Kind[R, M, V], services: Services, caller: Caller, identity: str, wait: float = 0.0) -> R:
    """The row, with its files; after at most `wait` seconds if it is still verifying. Raises NotFound."""

    async def load() -> R:
        async with services.database.read() as session:
            return _there(kind, await stored.find(session, kind.row, caller.project_id, identity))

    return await until(services, identity, wait, load, lambda row: row.state != "verifying")


async def listed(
    kind: Kind[R, M, V],
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
        rows = await stored.newest(session, kind.row, caller.project_id, after, limit + 1, filters)
    return [(row.id, kind.view(row)) for row in rows]


async def mend(kind: Kind[R, M, V], services: Services, caller: Caller, request: Request, identity: str) -> V:
    """`PATCH`: a better manifest for rejected bytes. Named fields take the place of the old ones, null is the
    default; what is not named stays. The bytes are inspected again.
    """
    body = await read_json(request, services.settings.body_seconds)
    changes = strict_json.parse(body)
    if not isinstance(changes, dict):
        raise Invalid.at("", "wrong_type", "expected an object with the fields of the manifest to change")
    async with services.database.write() as session:
        row = _there(kind, await stored.find(session, kind.row, caller.project_id, identity, lock=True))
        file = _mendable(kind, services, row)
        document = {name: value for name, value in {**row.manifest, **changes}.items() if value is not None}
        manifest = kind.read_manifest(json_text(document).encode())
        path = services.store.local_path(file.sha256)
        if path is not None:
            kind.check_file(manifest, path)
        row.name, row.format = manifest.name, manifest.format
        row.manifest = manifest.model_dump(mode="json")
        row.state, row.state_since, row.rejection = "verifying", utcnow(), None
        file.role = kind.role(manifest)
        await session.flush()
        await _inspect(kind, services, caller, session, row.id)
        return kind.view(row)


def _mendable(kind: Kind[R, M, V], services: Services, row: R) -> FileRow:
    if row.state != "rejected":
        raise Conflict("not_rejected", f"only a rejected {kind.noun} takes a better manifest; this one is {row.state}")
    kept = timedelta(hours=services.settings.kept_hours)
    if not row.files or utcnow() - row.state_since > kept:
        raise Conflict(
            "bytes_gone", f"rejected bytes are kept for {kept.total_seconds() / 3600:g} h: upload them again"
        )
    return row.files[0]


async def delete(kind: Kind[R, M, V], services: Services, caller: Caller, identity: str) -> None:
    """`DELETE`; raises Conflict while a job that has not ended needs it."""
    async with services.database.write() as session:
        row = _there(kind, await stored.find(session, kind.row, caller.project_id, identity, lock=True))
        jobs = await needs.needed_by(session, identity)
        if jobs:
            raise Conflict(
                "in_use", f"{len(jobs)} jobs that have not ended need it, such as {jobs[0]}: cancel them first"
            )
        await session.delete(row)
        announce(session, identity)


def _there(kind: Kind[R, M, V], row: R | None) -> R:
    if row is None:
        raise NotFound(f"unknown_{kind.noun}", f"there is no {kind.noun} with this id; `GET {kind.path}` lists them")
    return row


def ready(kind: Kind[R, M, V], row: R) -> R:
    """The same row; raises Conflict unless its inspection found it good."""
    if row.state != "ready":
        raise Conflict(
            "not_ready", f"the {kind.noun} is {row.state}: `GET {kind.path}/{row.id}?wait=60` waits for the inspection"
        )
    return row
