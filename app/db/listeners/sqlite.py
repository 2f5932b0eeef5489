"""Signals on SQLite: `PRAGMA data_version` tells of commits, the table `signals` of their names."""

import asyncio
import logging
import math
import sqlite3
from contextlib import closing
from pathlib import PurePath
from typing import Any

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.listeners.folder_events import FolderEvents
from app.db.signals import Subscriptions

POLL_SECONDS = 0.02
QUIET_SECONDS = 0.2
"""Longest time between two looks while the kernel tells of writes and there are none."""
ALERT_SECONDS = 1.0
"""How long after a write to look as often as without the kernel: a slow disk makes it visible late."""
_SOON_SECONDS = 0.001
_SOON_POLLS = 12
"""How often to look again after a write to the files: what is written is visible once it is on disk."""
_RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


async def poll_sqlite(readers: AsyncEngine, subscriptions: Subscriptions, wanted: asyncio.Event) -> None:
    """Notify the watches of names that any connection of any process has committed. Polls only while there are watches.

    Reading `data_version` reads shared memory, not the file, and takes microseconds, so it is read in the event loop.
    It changes on commits of other connections, so the polling connection never writes and stays the same one. Watches
    of names that this process signals are woken at its commit, and not again here. While a watch is urgent, the
    database is polled as soon as the kernel reports a write in its folder.
    """
    while True:
        try:
            with closing(_connected(readers.url)) as connection:
                events = FolderEvents(PurePath(readers.url.database or "").parent)
                try:
                    await _poll(_Look(connection), events, subscriptions, wanted)
                finally:
                    events.close()
        except sqlite3.Error as error:
            log.warning("cannot watch the database for changes, trying again: %s", type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            subscriptions.notify_all()


def _connected(url: URL) -> sqlite3.Connection:
    (file,), options = url.get_dialect()().create_connect_args(url)
    connection: sqlite3.Connection = sqlite3.connect(file, **{**options, "isolation_level": None, "timeout": 0})
    return connection


class _Look:
    """What has changed since the last look."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._version, self._counted = -1, -1
        self._last = 0

    def forget(self) -> None:
        """The next look has everything as changed."""
        self._version = self._counted = -1

    def changed(self) -> bool:
        """Whether there was a commit of another connection."""
        before, self._version = self._version, self._one("PRAGMA data_version")
        return self._version != before

    def signals(self) -> list[tuple[int, str]] | None:
        """The signals of those commits, with their numbers; None where they are not known: at the first look, when rows
        are gone that were not read, and when a process of the previous version has counted one in `user_version`.
        """
        before, self._counted = self._counted, self._one("PRAGMA user_version")
        if self._counted != before:
            self._last = self._one("SELECT coalesce(max(id), 0) FROM signals")
            return None
        query = "SELECT id, names FROM signals WHERE id > ? ORDER BY id"
        found = self._connection.execute(query, (self._last,)).fetchall()
        whole = not found or found[0][0] == self._last + 1
        self._last = found[-1][0] if found else self._last
        return found if whole else None

    def _one(self, statement: str) -> Any:
        return self._connection.execute(statement).fetchone()[0]


async def _poll(look: _Look, events: FolderEvents, subscriptions: Subscriptions, wanted: asyncio.Event) -> None:
    clock = asyncio.get_running_loop().time
    soon = 0
    alert_until = math.inf if not events.has_events else clock() + ALERT_SECONDS
    while True:
        if subscriptions.idle:
            wanted.clear()
            await wanted.wait()
            look.forget()
        if look.changed():
            soon = 0
            subscriptions.notify_urgent()
            _pass_on(look.signals(), subscriptions)
        if not subscriptions.urgent:
            await asyncio.sleep(POLL_SECONDS)
        elif soon:
            soon -= 1
            await asyncio.sleep(_SOON_SECONDS)
        elif await events.wait(POLL_SECONDS if clock() < alert_until else QUIET_SECONDS):
            soon, alert_until = _SOON_POLLS, max(alert_until, clock() + ALERT_SECONDS)


def _pass_on(signals: list[tuple[int, str]] | None, subscriptions: Subscriptions) -> None:
    if signals is None:
        subscriptions.notify_all()
        return
    for number, names in signals:
        if not subscriptions.is_committed_here(number):
            subscriptions.notify(names.split())
