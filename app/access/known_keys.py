"""API keys, and sessions of browsers, that were looked up within the last second."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from app.access import repository, sessions
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
        return await self._remembered(sha256, partial(repository.live, self._database, sha256))

    async def of_session(self, secret: str) -> LiveKey | None:
        """The key of the session with this secret; None where there is none. Raises Unauthorized where it has ended."""
        return await self._remembered(f"session {secret}", partial(sessions.key_of, self._database, secret))

    async def _remembered(self, name: str, look_up: Callable[[], Awaitable[LiveKey | None]]) -> LiveKey | None:
        if self._watch is None:
            self._watch = self._watching.enter_context(self._database.watch(KEYS))
            asyncio.get_running_loop().call_later(REMEMBERED_SECONDS, self.forget)
        if self._watch.take():
            self._keys = {}
        keys = self._keys  # a signal during the lookup replaces it, so that what was read before is not kept
        found = keys.get(name)
        if found is None:
            found = await look_up()
            if found is not None:
                keys[name] = found
        return found

    def forget(self) -> None:
        """Forget every key."""
        self._watching.close()
        self._watch, self._keys = None, {}
