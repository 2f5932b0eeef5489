"""How much of the database and the store a key takes: counted where it is added, in the same transaction."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, String, bindparam, func, literal, select, text, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.reads.pipeline import Call
from app.db.reads.query import Query
from app.db.rows import BlobRow, FileRow, JobRow, KeyRow

_WAITING: Final = text("jobs.state IN ('queued', 'paused')")
_DELETED: Final = text("blobs.state IN ('released', 'deleting')")
_KEY: Final = bindparam("key_id", type_=String())


@dataclass(frozen=True)
class Usage:
    """`waiting`: jobs that are queued or paused, counted up to a number. `bytes`: of the files that the key has
    uploaded or exported, of its jobs' outputs, and of what it has deleted until that is collected. Equal files are one
    blob in the store and count each, as either may be deleted.
    """

    waiting: int
    bytes: int


def _counting() -> Query[tuple[Any, ...]]:
    waiting = select(literal(1)).select_from(JobRow).where(JobRow.key_id == _KEY, _WAITING)
    waiting_of = waiting.limit(bindparam("most", type_=Integer)).subquery()
    files = select(func.coalesce(func.sum(FileRow.bytes), 0)).where(FileRow.key_id == _KEY)
    outputs = select(func.coalesce(func.sum(JobRow.output_bytes), 0)).where(JobRow.key_id == _KEY)
    deleted = select(func.coalesce(func.sum(BlobRow.bytes), 0)).where(BlobRow.key_id == _KEY, _DELETED)
    of_files, of_jobs, of_deleted = (each.scalar_subquery() for each in (files, outputs, deleted))
    stored = type_coerce(of_files + of_jobs + of_deleted, BigInteger)
    return Query(tuple, select(select(func.count()).select_from(waiting_of).scalar_subquery(), stored))


_VALID: Final = select(KeyRow.id).where(KeyRow.id == _KEY, KeyRow.revoked_at.is_(None))
_IS_VALID: Final = Query(tuple, _VALID)
_LOCK: Final = Query(tuple, _VALID.with_for_update(key_share=True))
_COUNT: Final = _counting()


class KeyRevoked(Exception):
    """The key was revoked after the request with it began; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("expected a valid key, found one that was revoked meanwhile: ask an admin for another")


def valid(key_id: str) -> list[Call]:
    """The statement that finds a row if the key is not revoked, without a lock."""
    return [(_IS_VALID, {"key_id": key_id})]


def counted(key_id: str, most_waiting: int) -> list[Call]:
    """The statements that lock the key's row and count what it takes: what is counted after the lock holds until the
    transaction ends. The first finds no row if the key is revoked; `usage_of` reads those of the second.
    """
    return [(_LOCK, {"key_id": key_id}), (_COUNT, {"key_id": key_id, "most": most_waiting})]


def usage_of(rows: Sequence[Sequence[Any]]) -> Usage:
    """What the key takes, of the rows of the counting statement."""
    ((waiting, stored),) = rows
    return Usage(int(waiting), int(stored))


async def lock(session: AsyncSession, key_id: str) -> None:
    """Lock the key's row: what is counted afterwards holds until the transaction ends. Raises KeyRevoked."""
    if await session.scalar(_LOCK.statement, {"key_id": key_id}) is None:
        raise KeyRevoked


async def usage(session: AsyncSession, key_id: str, most_waiting: int) -> Usage:
    """What the key takes now; waiting jobs are counted up to `most_waiting`."""
    rows = await session.execute(_COUNT.statement, {"key_id": key_id, "most": most_waiting})
    return usage_of(rows.all())


REMEMBERED_SECONDS: Final = 1.0
PLENTY_JOBS: Final = 5000
PLENTY_BYTES: Final = 1 << 30


class Remembered:
    """What keys took when they were last counted, which takes as long as they have jobs, and what was added since.

    For a second, and only while a key may have PLENTY_JOBS more and store PLENTY_BYTES more: nearer to its limits it is
    counted in every transaction. What other processes add within the second is not in it.
    """

    def __init__(self, most_waiting: int, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._clock = clock
        self._usages: dict[str, tuple[Usage, float]] = {}

    def usage(self, key_id: str) -> Usage | None:
        """What the key takes; None if it is to be counted."""
        usage, until = self._usages.get(key_id, (None, 0.0))
        if usage is None or self._clock() >= until or not self._is_far(usage):
            self._usages.pop(key_id, None)
            return None
        return usage

    def keep(self, key_id: str, usage: Usage) -> None:
        """What the key takes now: by a count, or after additions to what was remembered."""
        _, until = self._usages.get(key_id, (None, self._clock() + REMEMBERED_SECONDS))
        self._usages[key_id] = (usage, until)

    def _is_far(self, usage: Usage) -> bool:
        left = self.most_waiting - usage.waiting, self._most_bytes - usage.bytes
        return left[0] > PLENTY_JOBS and left[1] > PLENTY_BYTES
