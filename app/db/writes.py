"""Helpers for writes on both databases."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CursorResult, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.base import Base

Insert = postgresql.Insert | sqlite.Insert


def rows_changed(result: object) -> int:
    """How many rows an INSERT, UPDATE or DELETE changed."""
    assert isinstance(result, CursorResult)
    return result.rowcount


async def insert_all(session: AsyncSession, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert these rows, if any. (SQLAlchemy would insert one row of defaults for an empty list.)"""
    if rows:
        await session.execute(insert(table), rows)


def upsert(session: AsyncSession, table: type[Base]) -> Insert:
    """An INSERT in the session's dialect, with `on_conflict_do_update` and `on_conflict_do_nothing`."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
