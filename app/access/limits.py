"""What one key may have and do: requests, waits, uploads, jobs, bytes. Every refusal is a 429, with `Retry-After` where
waiting helps.

Requests, waits and uploads are counted in this process; jobs and bytes in the database (`app.queue.keys.quotas`).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.http.errors import TooMany
from app.http.limits import address_block
from app.http.services import Caller, Services
from app.queue.keys import quotas
from app.queue.keys.quotas import Usage
from app.settings import Settings

_UPLOAD_RETRY_SECONDS: Final = 5.0
_WAIT_RETRY_SECONDS: Final = 5.0
_JOBS_RETRY_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 5.0
"""Longest time that the answer to a wrong key is held back."""


def count_request(services: Services, key_id: str) -> None:
    """Count a request of a valid key. Raises TooMany."""
    wait = services.requests.take(key_id)
    if wait > 0.0:
        settings = services.settings
        raise TooMany(
            "too_many_requests",
            f"expected at most {settings.requests_per_second:g} requests a second of one key over time, and "
            f"{settings.request_burst} at once, found more: wait for a change with `?wait=60` instead of asking again",
            wait,
        )


async def count_wrong_key(services: Services, address: str) -> None:
    """Count a wrong key of this address (IPv6: of its /64): after some, each further answer is held back, or TooMany is
    raised.

    Valid keys of the address are not counted and never wait.
    """
    wait = services.wrong_keys.take(address_block(address), _PATIENCE_SECONDS)
    if wait > _PATIENCE_SECONDS:
        raise TooMany("too_many_wrong_keys", "expected a valid key, found many wrong ones: check the key", wait)
    await asyncio.sleep(wait)


@contextmanager
def counted_upload(services: Services, caller: Caller) -> Iterator[None]:
    """Count an upload of the caller's key during the block. Raises TooMany where as many as may are open."""
    most = services.settings.uploads_per_key
    if services.open_uploads[caller.key_id] >= most:
        raise TooMany(
            "too_many_uploads",
            f"expected at most {most} open uploads of one key, found another: send it when one of them has ended",
            _UPLOAD_RETRY_SECONDS,
        )
    with _counted(services.open_uploads, caller.key_id):
        yield


@contextmanager
def counted_wait(services: Services, caller: Caller, seconds: float | None = None) -> Iterator[None]:
    """Count a long poll, or (without `seconds`) a stream, of the caller's key during the block; not one of 0 seconds.

    Raises TooMany.
    """
    most = services.settings.waits_per_key
    if seconds == 0.0:
        yield
        return
    if services.open_waits[caller.key_id] >= most:
        raise TooMany(
            "too_many_waits",
            f"expected at most {most} streams and requests with `wait` of one key at a time, found another: close one",
            _WAIT_RETRY_SECONDS,
        )
    with _counted(services.open_waits, caller.key_id):
        yield


@contextmanager
def _counted(opened: Counter[str], key_id: str) -> Iterator[None]:
    opened[key_id] += 1
    try:
        yield
    finally:
        opened[key_id] -= 1
        if not opened[key_id]:
            del opened[key_id]


async def admit_job(services: Services, caller: Caller, session: AsyncSession, new_bytes: int = 0) -> None:
    """Check that the caller's key may have another waiting job, and store so many bytes more. Raises TooMany, and
    KeyRevoked where the key was revoked since the request began.

    It locks the key until the transaction ends, so call it before any other row is locked.
    """
    await quotas.lock(session, caller.key_id)
    usage = await quotas.usage(session, caller.key_id, services.settings.queued_jobs_per_key)
    refusal = beyond(services.settings, usage, new_bytes)
    if refusal is not None:
        raise refusal


def beyond(settings: Settings, usage: Usage, new_bytes: int = 0) -> TooMany | None:
    """The error of another waiting job, and of so many bytes more, of a key with this usage."""
    most = settings.queued_jobs_per_key
    if usage.waiting >= most:
        return TooMany(
            "too_many_queued_jobs",
            f"expected at most {most} queued and paused jobs of one key, found as many (exports count, and so does the "
            "inspection of each upload): wait for some to begin, or cancel some",
            _JOBS_RETRY_SECONDS,
        )
    return _too_many_bytes(settings, usage.bytes, new_bytes)


async def require_bytes(services: Services, caller: Caller, session: AsyncSession, new_bytes: int = 0) -> None:
    """Check that the caller's key may store so many bytes more. Raises TooMany."""
    usage = await quotas.usage(session, caller.key_id, services.settings.queued_jobs_per_key)
    refusal = _too_many_bytes(services.settings, usage.bytes, new_bytes)
    if refusal is not None:
        raise refusal


def _too_many_bytes(settings: Settings, stored: int, new_bytes: int) -> TooMany | None:
    most = settings.bytes_per_key
    if stored + new_bytes <= most:
        return None
    more = f" and {new_bytes} more" if new_bytes else ""
    return TooMany(
        "too_many_bytes",
        f"expected at most {most} bytes stored by one key, found {stored}{more}, which waiting alone does not "
        "change: delete models, datasets and jobs, whose bytes count until they leave the disk (within 15 minutes)",
    )
