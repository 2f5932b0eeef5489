"""How much of the database and the store a key takes: counted where it is added, in the same transaction."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import JobState
from app.db.rows import FileRow, JobRow, KeyRow

_WAITING: Final = (JobState.QUEUED, JobState.PAUSED)


@dataclass(frozen=True)
class Usage:
    """`is_full`: as many jobs as may be are queued or paused. `bytes`: of the files that the key has uploaded or
    exported, and of its jobs' outputs. Equal files are one blob in the store and count each, as either may be deleted.
    """

    is_full: bool
    bytes: int


async def lock(session: AsyncSession, key_id: str) -> bool:
    """Lock the key's row: what is counted afterwards holds until the transaction ends. False if the key is revoked."""
    valid = select(KeyRow.id).where(KeyRow.id == key_id, KeyRow.revoked_at.is_(None))
    return await session.scalar(valid.with_for_update(key_share=True)) is not None


async def usage(session: AsyncSession, key_id: str, most_waiting: int) -> Usage:
    """What the key takes now, in one statement."""
    waiting = select(literal(1)).where(JobRow.key_id == key_id, JobRow.state.in_(_WAITING))
    files = select(func.coalesce(func.sum(FileRow.bytes), 0)).where(FileRow.key_id == key_id)
    outputs = select(func.coalesce(func.sum(JobRow.output_bytes), 0)).where(JobRow.key_id == key_id)
    found = select(
        waiting.offset(most_waiting - 1).limit(1).scalar_subquery(),
        files.scalar_subquery() + outputs.scalar_subquery(),
    )
    last, stored = (await session.execute(found)).one()
    return Usage(last is not None, int(stored))
