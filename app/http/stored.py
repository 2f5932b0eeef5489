"""The SQL that models and datasets share."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app.db.rows import DatasetRow, FileRow, ModelRow

R = TypeVar("R", ModelRow, DatasetRow)


async def find(
    session: AsyncSession, resource: type[R], project_id: str, identity: str, *, lock: bool = False
) -> R | None:
    """A model or dataset of the project, with its files."""
    query = select(resource).where(resource.id == identity, resource.project_id == project_id)
    query = query.options(selectinload(resource.files))
    return await session.scalar(query.with_for_update() if lock else query)


async def newest(
    session: AsyncSession,
    resource: type[R],
    project_id: str,
    after: str | None,
    limit: int,
    filters: Mapping[str, str],
) -> Sequence[R]:
    """Rows of the project, newest first (ids sort by creation), older than `after`."""
    query = select(resource).where(resource.project_id == project_id).filter_by(**filters)
    if after is not None:
        query = query.where(resource.id < after)
    query = query.options(selectinload(resource.files)).order_by(resource.id.desc()).limit(limit)
    return (await session.scalars(query)).all()


async def drop_rejected_files(session: AsyncSession, before: datetime) -> None:
    """Let go of the bytes that were rejected before that time; the store's collection takes them."""
    for resource, column in ((ModelRow, FileRow.model_id), (DatasetRow, FileRow.dataset_id)):
        rejected = select(resource.id).where(resource.state == "rejected", resource.state_since < before)
        rejected = rejected.with_for_update()  # one that is being mended just now is looked at again afterwards
        await session.execute(delete(FileRow).where(column.in_(rejected)).execution_options(synchronize_session=False))
