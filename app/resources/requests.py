"""POST and PATCH of models and datasets: from the HTTP request to the service, and to the response."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from fastapi import Request, Response

from app.access import limits
from app.contracts.base import canonical_json
from app.db.errors import DatabaseUnavailable
from app.http import strict_json
from app.http.answers import json_answer
from app.http.bodies import content_length, read_json
from app.http.errors import Invalid
from app.http.idempotency import fingerprint_of, held, replay
from app.http.services import Caller, Services
from app.queue.blobs import release_blobs
from app.queue.idempotency import Answer as FirstAnswer
from app.resources import service
from app.resources.kinds import M, R, ResourceKind, V
from app.resources.uploads import OVERHEAD_BYTES, Received, ReceivedFile, receive


async def upload(
    kind: ResourceKind[R, M, V], services: Services, caller: Caller, request: Request, key: str | None
) -> Response:
    """Receive the upload, publish its blobs, then commit the row together with the Idempotency-Key.

    Once this returns, the files are durable, the row is committed and the inspection is queued.
    """
    with limits.counted_upload(services, caller):
        async with services.database.read() as session:
            least = max(0, (content_length(request) or 0) - OVERHEAD_BYTES)
            await limits.require_bytes(services, caller, session, least)
        return await _upload(kind, services, caller, request, key)


async def _upload(
    kind: ResourceKind[R, M, V], services: Services, caller: Caller, request: Request, key: str | None
) -> Response:
    async with (
        held(services, caller, key) as hold,
        receive(services, request, kind.read_manifest, kind.check_file, kind.formats, kind.most_files) as sent,
    ):
        received: Received[M] = _for_its_files(kind, sent)
        content = [canonical_json(received.manifest), *_content(received.files)]
        fingerprint = fingerprint_of(f"POST {kind.path}", content)
        first = hold.answered(fingerprint)
        if first is not None:
            return replay(first)
        async with services.database.read() as session:  # what is published and then refused takes space for a time
            await limits.require_bytes(services, caller, session, sum(each.staged.bytes for each in received.files))
        digests = [each.staged.sha256 for each in received.files]
        async with _released_if_refused(services, caller, digests), services.blobs.kept(digests):
            for each in received.files:
                await services.blobs.publish(each.staged.path, each.staged.sha256)
            async with services.database.write() as session:
                row = await service.create(kind, services, caller, session, received)
                view, location = kind.view(row), kind.location(row.id)
                answer = FirstAnswer(201, view.model_dump_json(by_alias=True), location)
                await hold.remember(session, fingerprint, answer)
    return json_answer(view, 201, {"Location": location})


@asynccontextmanager
async def _released_if_refused(services: Services, caller: Caller, digests: Sequence[str]) -> AsyncIterator[None]:
    """Release what the block has published if it raises: what a key sends and no row refers to counts for it too."""
    try:
        yield
    except Exception:
        with suppress(DatabaseUnavailable):  # the error that the caller gets is the first one
            async with services.database.write() as session:
                await release_blobs(session, digests, caller.key_id)
        raise


def _for_its_files(kind: ResourceKind[R, M, V], received: Received[M]) -> Received[M]:
    """The same upload, in which every file has a name that the manifest goes with. Raises Invalid."""
    default = f"{kind.noun}.{received.manifest.format}"
    files = tuple(replace(each, name=each.name or default) for each in received.files)
    return Received(kind.with_files(received.manifest, [each.name for each in files]), files)


def _content(files: Sequence[ReceivedFile]) -> list[str]:
    """What tells the files of one upload from those of another: of a single file its bytes alone."""
    if len(files) == 1:
        return [files[0].staged.sha256]
    return [text for each in files for text in (each.name, each.staged.sha256)]


async def update(kind: ResourceKind[R, M, V], services: Services, caller: Caller, request: Request, identity: str) -> V:
    """Read the changes from the body, and apply them."""
    changes: Any = strict_json.parse(await read_json(request, services.pace))
    if not isinstance(changes, dict):
        raise Invalid.at("", "wrong_type", "expected an object with the fields of the manifest to change: {…}")
    return await service.update(kind, services, caller, identity, changes)
