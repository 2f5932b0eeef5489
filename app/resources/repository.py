"""The SQL that models and datasets share."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app.db.rows import DatasetRow, ModelRow

R = TypeVar("R", ModelRow, DatasetRow)


async def find(
    session: AsyncSession, resource: type[R], project_id: str, identity: str, *, lock: bool = False
) -> R | None:
    """A model or dataset of the project with its files, optionally locked for update."""
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


async def add(session: AsyncSession, row: R) -> None:
    """Insert a row with its files."""
    session.add(row)
    await session.flush()
