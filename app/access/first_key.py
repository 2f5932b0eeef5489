"""The first admin key: from `STILLHOUSE_API_KEY`, or made at the first start and left in `DIR/admin.key`."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.access import repository
from app.access.secrets import new_key
from app.db.engine import Database
from app.settings import Settings

FROM_ENVIRONMENT: Final = "STILLHOUSE_API_KEY"
FIRST: Final = "first admin key"


class RevokedKey(Exception):
    """The environment names a key that was revoked; taking it back in silence would undo that."""

    def __init__(self) -> None:
        super().__init__(f"{FROM_ENVIRONMENT} names a key that was revoked: set another one")


async def ensure_first_key(database: Database, settings: Settings) -> str | None:
    """See that somebody can open the service. Returns the key if it was made just now: show it once.

    A key from the environment is taken as it is; when it changes, the one before it is revoked.
    Raises RevokedKey.
    """
    if settings.api_key is not None:
        await _take(database, settings.api_key.get_secret_value())
        return None
    async with database.write() as session:
        if await repository.live_keys(session):
            return None
        key = new_key()
        _leave(settings.admin_key_file, key)
        await repository.add(session, key, FIRST)
        return key


async def _take(database: Database, key: str) -> None:
    async with database.write() as session:
        await repository.live_keys(session)
        row = await repository.find(session, key, revoked_too=True)
        if row is None:
            await repository.add(session, key, FROM_ENVIRONMENT)
        elif row.revoked_at is not None:
            raise RevokedKey
        await repository.revoke_named(session, FROM_ENVIRONMENT, but=key)


def _leave(path: Path, key: str) -> None:
    """Write the file anew, readable by its owner alone, before the key is of any use."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(descriptor)
