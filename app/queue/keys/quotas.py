"""How much of the database and the store a key takes: counted where it is added, in the same transaction."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.contracts.states import JobState
from app.db.rows import BlobRow, FileRow, JobRow, KeyRow

_WAITING: Final = (JobState.QUEUED, JobState.PAUSED)


@dataclass(frozen=True)
class Usage:
    """`is_full`: as many jobs as may be are queued or paused. `bytes`: of the files that the key has uploaded or
    exported, of its jobs' outputs, and of what it has deleted until that is collected. Equal files are one blob in the
    store and count each, as either may be deleted.
    """

    is_full: bool
    bytes: int


async def lock(session: AsyncSession, key_id: str) -> None:
    """Lock the key's row: what is counted afterwards holds until the transaction ends."""
    await session.execute(select(KeyRow.id).where(KeyRow.id == key_id).with_for_update(key_share=True))


async def usage(session: AsyncSession, key_id: str, most_waiting: int) -> Usage:
    """What the key takes now, in one statement."""
    waiting = select(literal(1)).where(JobRow.key_id == key_id, JobRow.state.in_(_WAITING))
    files = select(func.coalesce(func.sum(FileRow.bytes), 0)).where(FileRow.key_id == key_id)
    outputs = select(func.coalesce(func.sum(JobRow.output_bytes), 0)).where(JobRow.key_id == key_id)
    gone = ("released", "deleting")
    released = select(func.coalesce(func.sum(BlobRow.bytes), 0)).where(
        BlobRow.key_id == key_id, BlobRow.state.in_(gone)
    )
    found = select(
        waiting.offset(most_waiting - 1).limit(1).scalar_subquery(),
        files.scalar_subquery() + outputs.scalar_subquery() + released.scalar_subquery(),
    )
    last, stored = (await session.execute(found)).one()
    return Usage(last is not None, int(stored))
