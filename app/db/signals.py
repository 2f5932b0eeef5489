"""Waiting for changes without polling rows and without holding a session.

A signal is a name: WORK when a job may have become claimable, or the id of a job, model or dataset that has changed.
Writers `announce` names in their transaction; waiters hold a `Watch`. A signal only means that the rows should be read
again: it may come without a change. No change is missed, because a waiter subscribes before it reads.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy.ext.asyncio import AsyncSession

WORK = "work"
_PENDING, _URGENT = "stillhouse_signals", "stillhouse_urgent_signals"


def announce(session: AsyncSession, *names: str, urgent: bool = False) -> None:
    """Signal these names when the session's transaction is committed by `Database.write`; `urgent`: to urgent watches
    only.
    """
    session.info.setdefault(_URGENT if urgent else _PENDING, set()).update(names)


def announced_names(session: AsyncSession) -> list[str]:
    """The names that the transaction will signal, sorted."""
    return sorted(session.info.get(_PENDING, set()) | session.info.get(_URGENT, set()))


def is_for_all(session: AsyncSession) -> bool:
    """Whether the transaction signals more than urgent watches."""
    return bool(session.info.get(_PENDING))


class Watch:
    """A subscription made by `Database.watch`. A signal is kept until the next `wait`."""

    def __init__(self) -> None:
        self._signalled = asyncio.Event()

    def notify(self) -> None:
        """Wake the waiter, now or at its next wait."""
        self._signalled.set()

    def take(self) -> bool:
        """Whether it was signalled since the last wait or call."""
        taken = self._signalled.is_set()
        self._signalled.clear()
        return taken

    async def wait(self, seconds: float) -> bool:
        """True as soon as (or if already) signalled, False after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._signalled.wait()
        except TimeoutError:
            return False
        self._signalled.clear()
        return True


class Subscriptions:
    """The watches of one process, by name."""

    def __init__(self) -> None:
        self._watches: dict[str, set[Watch]] = defaultdict(set)
        self._urgent: set[Watch] = set()
        self._committed_here: set[int] = set()

    @property
    def idle(self) -> bool:
        """Whether there are no watches."""
        return not self._watches

    @property
    def urgent(self) -> bool:
        """Whether a watch is urgent: signals of other processes are then passed on within milliseconds."""
        return bool(self._urgent)

    @contextmanager
    def subscribe(self, names: Iterable[str], *, urgent: bool = False) -> Iterator[Watch]:
        """A watch on these names during the block."""
        watch, names = Watch(), tuple(names)
        for name in names:
            self._watches[name].add(watch)
        if urgent:
            self._urgent.add(watch)
        try:
            yield watch
        finally:
            self._urgent.discard(watch)
            for name in names:
                self._watches[name].discard(watch)
                if not self._watches[name]:
                    del self._watches[name]

    @contextmanager
    def committing(self, number: int) -> Iterator[None]:
        """The block commits a transaction of this process, whose signals have this number in the database. The watches
        of its names are woken after it: it is no news to them.
        """
        if not self.idle:
            self._committed_here.add(number)
        try:
            yield
        except BaseException:
            self._committed_here.discard(number)  # another process may take this number
            raise

    def is_committed_here(self, number: int) -> bool:
        """Whether the signals with this number are of this process. Once each, in rising order."""
        ours = number in self._committed_here
        self._committed_here = {each for each in self._committed_here if each > number}
        return ours

    def notify(self, names: Iterable[str]) -> None:
        """Wake the watches of these names."""
        for name in names:
            for watch in self._watches.get(name, ()):
                watch.notify()

    def notify_urgent(self) -> None:
        """Wake the urgent watches: something unknown has changed."""
        for watch in self._urgent:
            watch.notify()

    def notify_all(self) -> None:
        """Wake all watches: something unknown has changed."""
        self.notify(tuple(self._watches))
