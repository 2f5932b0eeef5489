"""`POST /v1/jobs/{id}/retry`: run a failed or cancelled job again, as a new one."""

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.base import canonical_json
from app.contracts.specs.jobs import ANY_SPEC, InternalJob
from app.contracts.specs.requests.retries import RETRY_REQUEST
from app.db.rows import JobRow
from app.http.bodies import read_json
from app.http.errors import Conflict
from app.http.idempotency import fingerprint_of
from app.http.services import Caller, Services
from app.http.validation import parse_as
from app.jobs import service
from app.jobs.repository import StoredJob
from app.jobs.submission import Submitted
from app.queue.records import NotRetryable, UnusableInput
from app.storage.errors import StorageFull


async def retry(services: Services, caller: Caller, job_id: str, request: Request, key: str | None) -> Response:
    """The new job. An empty body means `{}`.

    Raises NotFound; Conflict if the job has not ended, has succeeded, has no checkpoint to start from, or reads a
    resource that no longer exists.
    """
    options = parse_as(RETRY_REQUEST, await read_json(request, services.pace) or b"{}")
    old = await service.get(services, caller, job_id)
    refusal = await _unusable(services, caller, old)

    async def make(session: AsyncSession) -> JobRow:
        try:
            row = await services.ledger.retry(
                session,
                job_id,
                from_checkpoint=options.from_checkpoint,
                key_id=caller.key_id,
                threads=services.settings.threads,
            )
        except NotRetryable as error:
            raise Conflict(error.code, str(error)) from None
        except UnusableInput as error:
            raise refusal or Conflict("unusable_input", str(error)) from None
        row = service.existing(row)
        if refusal is not None:
            raise refusal
        return row

    fingerprint = fingerprint_of(f"POST /v1/jobs/{job_id}/retry", canonical_json(options))
    return await service.create_once(services, caller, key, fingerprint, make)


async def _unusable(services: Services, caller: Caller, old: StoredJob) -> Conflict | None:
    """The old spec was valid when it was submitted; its inputs may have been deleted since."""
    spec = ANY_SPEC.validate_json(old.spec, extra="ignore")
    refusal = None if isinstance(spec, InternalJob) else await service.refused(services, caller, Submitted.of(spec))
    if refusal is None:
        return None
    if isinstance(refusal, StorageFull):
        raise refusal
    first = (refusal.problems or ())[0]
    return Conflict("unusable_input", f"the job's spec at {first.pointer}: {first.detail}; submit a new spec instead")
