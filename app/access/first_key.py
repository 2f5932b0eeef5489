"""The first admin key: from `STILLHOUSE_API_KEY`, or created at the first start and written to `DIR/admin.key`."""

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
    """The environment has a key that was revoked; accepting it would silently undo that."""

    def __init__(self) -> None:
        super().__init__(f"{FROM_ENVIRONMENT} is a key that was revoked: set another one")


async def ensure_first_key(database: Database, settings: Settings) -> str | None:
    """Ensure that there is an active key. Returns the key if it was just created, to be shown once.

    A key from the environment is used as it is; when it changes, the previous one is revoked. Raises RevokedKey.
    """
    if settings.api_key is not None:
        await _set_key(database, settings.api_key.get_secret_value())
        return None
    async with database.write() as session:
        if await repository.count_active_keys(session):
            return None
        key = new_key()
        _write_key(settings.admin_key_file, key)
        await repository.add(session, key, FIRST)
        return key


def announcement(key: str, file: Path, *, to_terminal: bool) -> str:
    """What the first start says of the key. It has the key only where it goes to a terminal: other output is kept and
    collected as a log.
    """
    if to_terminal:
        return f"The admin key, shown this once and kept in {file}:\n{key}"
    return f"The admin key is in {file}, which only its owner can read"


async def _set_key(database: Database, key: str) -> None:
    async with database.write() as session:
        await repository.count_active_keys(session)
        row = await repository.find(session, key, revoked_too=True)
        if row is None:
            await repository.add(session, key, FROM_ENVIRONMENT)
        elif row.revoked_at is not None:
            raise RevokedKey
        await repository.revoke_named(session, FROM_ENVIRONMENT, but=key)


def _write_key(path: Path, key: str) -> None:
    """Write a new file that only its owner can read, before the key becomes valid."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(descriptor)
