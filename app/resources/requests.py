"""POST and PATCH of models and datasets: from the HTTP request to the service, and to the response."""

from typing import Any

from fastapi import Request, Response

from app.contracts.base import canonical_json
from app.http import strict_json
from app.http.answers import json_answer
from app.http.bodies import read_json
from app.http.errors import Invalid
from app.http.idempotency import fingerprint_of, held, replay
from app.http.services import Caller, Services
from app.queue.idempotency import Answer as FirstAnswer
from app.resources import service
from app.resources.kinds import M, R, ResourceKind, V
from app.resources.uploads import receive


async def upload(
    kind: ResourceKind[R, M, V], services: Services, caller: Caller, request: Request, key: str | None
) -> Response:
    """Receive the upload, publish its blob, then commit the row together with the Idempotency-Key.

    Once this returns, the file is durable, the row is committed and the inspection is queued.
    """
    async with (
        held(services, caller, key) as hold,
        receive(services, request, kind.read_manifest, kind.check_file) as received,
    ):
        content = [canonical_json(received.manifest), received.staged.sha256]
        fingerprint = fingerprint_of(f"POST {kind.path}", content)
        first = hold.answered(fingerprint)
        if first is not None:
            return replay(first)
        await services.blobs.publish(received.staged.path, received.staged.sha256)
        async with services.database.write() as session:
            row = await service.create(kind, services, caller, session, received)
            view, location = kind.view(row), f"{kind.path}/{row.id}"
            answer = FirstAnswer(201, view.model_dump_json(by_alias=True), location)
            await hold.remember(session, fingerprint, answer)
    return json_answer(view, 201, {"Location": location})


async def update(kind: ResourceKind[R, M, V], services: Services, caller: Caller, request: Request, identity: str) -> V:
    """Read the changes from the body, and apply them."""
    changes: Any = strict_json.parse(await read_json(request, services.settings.body_seconds))
    if not isinstance(changes, dict):
        raise Invalid.at("", "wrong_type", "expected an object with the fields of the manifest to change: {…}")
    return await service.update(kind, services, caller, identity, changes)
