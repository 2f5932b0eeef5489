"""The SQL of API keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Update, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.secrets import digest, visible_prefix
from app.db.clock import utcnow
from app.db.engine import Database
from app.db.ids import new_id
from app.db.reads import Query
from app.db.rows import DEFAULT_PROJECT, KeyRow, ProjectRow
from app.db.signals import announce

KEYS: Final = "keys"
"""The signal that keys were revoked; the id of a key, that it was."""


class LiveKey(NamedTuple):
    """A key that is not revoked."""

    id: str
    project_id: str
    last_used_at: datetime | None


_LIVE: Final = Query(
    LiveKey._make,
    select(KeyRow.id, KeyRow.project_id, KeyRow.last_used_at).where(
        KeyRow.sha256 == bindparam("sha256"), KeyRow.revoked_at.is_(None)
    ),
)

_IS_LIVE: Final = Query(bool, select(KeyRow.id).where(KeyRow.id == bindparam("id"), KeyRow.revoked_at.is_(None)))


async def live(database: Database, sha256: str) -> LiveKey | None:
    """The key with this digest, unless it is revoked."""
    found = await database.fetch(_LIVE, sha256=sha256)
    return found[0] if found else None


async def is_live(database: Database, key_id: str) -> bool:
    """Whether the key with this id is not revoked."""
    return bool(await database.fetch(_IS_LIVE, id=key_id))


async def find(session: AsyncSession, key: str, *, revoked_too: bool = False) -> KeyRow | None:
    """The key with this secret."""
    query = select(KeyRow).where(KeyRow.sha256 == digest(key))
    return await session.scalar(query if revoked_too else query.where(KeyRow.revoked_at.is_(None)))


async def add(session: AsyncSession, key: str, name: str, project_id: str = DEFAULT_PROJECT) -> KeyRow:
    """Insert a key, as its digest."""
    row = KeyRow(
        id=new_id("key"), project_id=project_id, name=name, prefix=visible_prefix(key), sha256=digest(key), role="admin"
    )
    session.add(row)
    await session.flush()
    return row


async def all_keys(session: AsyncSession) -> Sequence[KeyRow]:
    """All keys, also revoked ones, oldest first."""
    return (await session.scalars(select(KeyRow).order_by(KeyRow.id))).all()


async def count_active_keys(session: AsyncSession) -> int:
    """The number of active keys. Locks the project, so that two first starts do not both create one."""
    await session.execute(select(ProjectRow.id).where(ProjectRow.id == DEFAULT_PROJECT).with_for_update())
    query = select(func.count()).select_from(KeyRow).where(KeyRow.revoked_at.is_(None))
    return await session.scalar(query) or 0


async def revoke(session: AsyncSession, identity: str) -> int:
    """Revoke the active keys with this id or prefix; how many there were. Their waits are woken."""
    matching = update(KeyRow).where(or_(KeyRow.id == identity, KeyRow.prefix == identity), KeyRow.revoked_at.is_(None))
    return await _revoke(session, matching)


async def revoke_named(session: AsyncSession, name: str, *, but: str) -> None:
    """Revoke the active keys of this name, except the one with the secret `but`."""
    others = update(KeyRow).where(KeyRow.name == name, KeyRow.sha256 != digest(but), KeyRow.revoked_at.is_(None))
    await _revoke(session, others)


async def _revoke(session: AsyncSession, matching: Update) -> int:
    revoked = (await session.scalars(matching.values(revoked_at=utcnow()).returning(KeyRow.id))).all()
    announce(session, KEYS, *revoked)
    return len(revoked)


async def touch(session: AsyncSession, key_id: str, now: datetime) -> None:
    """Record when the key was last used."""
    await session.execute(update(KeyRow).where(KeyRow.id == key_id).values(last_used_at=now))
