"""Waiting for something to change, without polling rows and without holding a session.

A signal is a name: WORK when a job may have become claimable, or the id of a job, model or dataset that
changed. Writers `announce` names in their transaction; whoever waits holds a `Watch`. A ring means "look
again", nothing more: it may come without a change, and a look before the wait is never missed, because
the watch is hung up first.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy.ext.asyncio import AsyncSession

WORK = "work"
_PENDING = "stillhouse_signals"


def announce(session: AsyncSession, *names: str) -> None:
    """Ring these names when the session's transaction is committed by `Database.write`."""
    session.info.setdefault(_PENDING, set()).update(names)


def announced(session: AsyncSession) -> list[str]:
    """What the transaction will ring, sorted."""
    return sorted(session.info.get(_PENDING, ()))


class Watch:
    """Hung up at `Database.watch`; rings stay until `wait` has seen them."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """True as soon as (or if already) rung, False after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Board:
    """Who waits for which name, within one process."""

    def __init__(self) -> None:
        self._watches: dict[str, set[Watch]] = defaultdict(set)

    @property
    def idle(self) -> bool:
        """Nobody waits."""
        return not self._watches

    @contextmanager
    def hang(self, names: Iterable[str]) -> Iterator[Watch]:
        """A watch on these names, taken down at the end of the block."""
        watch, names = Watch(), tuple(names)
        for name in names:
            self._watches[name].add(watch)
        try:
            yield watch
        finally:
            for name in names:
                self._watches[name].discard(watch)
                if not self._watches[name]:
                    del self._watches[name]

    def ring(self, names: Iterable[str]) -> None:
        """Wake who waits for one of these names."""
        for name in names:
            for watch in self._watches.get(name, ()):
                watch.ring()

    def ring_all(self) -> None:
        """Wake everybody: something changed, nobody knows what."""
        self.ring(tuple(self._watches))
