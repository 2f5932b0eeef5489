"""`Idempotency-Key`: the same request sent twice is executed once.

A job takes its key in its own transaction (`app.queue.idempotency.find`). An upload takes longer than a transaction
may, so it holds its key while it runs, and another upload with the same key gets a 409.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Header, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.base import digest_of
from app.db.errors import DatabaseUnavailable
from app.db.rows import IdempotencyRow
from app.http.errors import Conflict, Invalid
from app.http.services import Caller, Services
from app.queue import idempotency

HOLD_SECONDS: Final = 60.0

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Name of the request, set by the client; repeated with the same content it gets the first answer.",
    ),
]


def fingerprint_of(operation: str, content: Any) -> str:
    """Identifies a request by its operation and content."""
    return digest_of([operation, content])


def replay(answer: idempotency.Answer) -> Response:
    """The response with the first answer."""
    headers = {"Idempotency-Replayed": "true"}
    if answer.location is not None:
        headers["Location"] = answer.location
    return Response(answer.body, answer.status, headers=headers, media_type="application/json")


def reused() -> Invalid:
    """The error for a key that was used with other content."""
    return Invalid([], "idempotency_key_reused", "this Idempotency-Key was used with other content: use a new key")


@dataclass(frozen=True)
class Hold:
    """An upload's hold on its key. Without a key nothing is held and no answer is stored."""

    caller: Caller
    key: str | None = None
    token: str | None = None
    before: IdempotencyRow | None = None

    def answered(self, fingerprint: str) -> idempotency.Answer | None:
        """The answer given before to this content; raises Invalid if the key was used with other content."""
        if self.before is None:
            return None
        try:
            return idempotency.answer_of(self.before, fingerprint)
        except idempotency.KeyReused:
            raise reused() from None

    async def remember(self, session: AsyncSession, fingerprint: str, answer: idempotency.Answer) -> None:
        """Store the answer, in the transaction that commits the upload."""
        if self.key is None:
            return
        try:
            await idempotency.remember(session, self.caller.key_id, self.key, fingerprint, answer, self.token)
        except idempotency.HoldLost:
            raise Conflict("hold_lost", "another request took over this Idempotency-Key: repeat the upload") from None


@asynccontextmanager
async def held(services: Services, caller: Caller, key: str | None) -> AsyncIterator[Hold]:
    """Hold the key during the block; raises Conflict while another upload holds it.

    If the block fails, the key is released: errors are not stored.
    """
    if key is None:
        yield Hold(caller)
        return
    taken = await _take(services, caller, key)
    if isinstance(taken, IdempotencyRow):
        yield Hold(caller, key, before=taken)
        return
    extending = asyncio.create_task(_keep_extending(services, caller, key, taken))
    try:
        yield Hold(caller, key, token=taken)
    finally:
        extending.cancel()
        with suppress(asyncio.CancelledError):
            await extending
        async with services.database.write(short=True) as session:
            await idempotency.release(session, caller.key_id, key, taken)


async def _take(services: Services, caller: Caller, key: str) -> str | IdempotencyRow:
    try:
        async with services.database.write(short=True) as session:
            return await idempotency.hold(session, caller.key_id, key, HOLD_SECONDS, caller.project_id)
    except idempotency.InFlight:
        raise Conflict(
            "in_flight", "an upload with this Idempotency-Key is in progress: wait for its end, then repeat"
        ) from None


async def _keep_extending(services: Services, caller: Caller, key: str, token: str) -> None:
    """Extend the hold while the upload runs. A lost hold is noticed when the answer is stored."""
    while True:
        await asyncio.sleep(HOLD_SECONDS / 3)
        with suppress(idempotency.HoldLost, DatabaseUnavailable):
            async with services.database.write(short=True) as session:
                await idempotency.extend(session, caller.key_id, key, token, HOLD_SECONDS)
