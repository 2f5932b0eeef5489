"""API keys that were looked up within the last second."""

import asyncio
from contextlib import ExitStack
from typing import Final

from app.access import repository
from app.access.repository import KEYS, LiveKey
from app.db.engine import Database
from app.db.signals import Watch

REMEMBERED_SECONDS: Final = 1.0
"""How long a key is remembered; also how long a revoked one may be, should the database's signals be interrupted."""


class KnownKeys:
    """The keys of one process. A revocation in it is noticed at the next request, one in another by the database's
    signal; without requests nothing is remembered or watched.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[str, LiveKey] = {}
        self._watch: Watch | None = None
        self._watching = ExitStack()

    async def live(self, sha256: str) -> LiveKey | None:
        """The key with this digest, unless it is revoked."""
        if self._watch is None:
            self._watch = self._watching.enter_context(self._database.watch(KEYS))
            asyncio.get_running_loop().call_later(REMEMBERED_SECONDS, self.forget)
        if self._watch.take():
            self._keys = {}
        keys = self._keys  # a signal during the lookup replaces it, so that what was read before is not kept
        found = keys.get(sha256)
        if found is None:
            found = await repository.live(self._database, sha256)
            if found is not None:
                keys[sha256] = found
        return found

    def forget(self) -> None:
        """Forget every key."""
        self._watching.close()
        self._watch, self._keys = None, {}
