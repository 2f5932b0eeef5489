"""Signals on SQLite: urgent watches hear of every commit at once, others only of commits that signal something else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.engine import Database, open_database
from app.db.listeners import listening
from app.db.signals import WORK, Watch, announce


@pytest.fixture
async def databases(migrated_sqlite_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes' connections to one database."""
    pair = open_database(migrated_sqlite_url), open_database(migrated_sqlite_url)
    yield pair
    for database in pair:
        await database.close()


async def commit(database: Database, *names: str, urgent: bool) -> None:
    async with database.write() as session:
        await change(session)
        announce(session, *names, urgent=urgent)


async def change(session: AsyncSession) -> None:
    await session.execute(text("UPDATE projects SET name = name || '.'"))


async def quiet(watch: Watch) -> None:
    """Wait until a watch has told what it knew."""
    while await watch.wait(0.2):
        pass


async def test_a_commit_of_urgent_signals_wakes_no_other_watch(databases: tuple[Database, Database]) -> None:
    ours, theirs = databases
    with ours.watch(WORK) as ordinary, ours.watch("predictions", urgent=True) as urgent:
        await asyncio.gather(quiet(ordinary), quiet(urgent))
        await commit(theirs, "predictions", urgent=True)
        assert await urgent.wait(5.0)
        assert not await ordinary.wait(0.3)
        await commit(theirs, WORK, urgent=False)
        assert await ordinary.wait(5.0)


async def test_without_urgent_watches_signals_are_still_found(databases: tuple[Database, Database]) -> None:
    ours, theirs = databases
    with ours.watch(WORK) as ordinary:
        await quiet(ordinary)
        for _ in range(3):
            await commit(theirs, WORK, urgent=False)
            assert await ordinary.wait(5.0)


async def test_where_the_system_tells_of_no_writes_urgent_signals_are_polled(
    databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.db.listeners.folder_events._libc.inotify_init1", lambda flags: -1)
    ours, theirs = databases
    with ours.watch("predictions", urgent=True) as urgent:
        await quiet(urgent)
        await commit(theirs, "predictions", urgent=True)
        assert await urgent.wait(5.0)


async def test_signals_are_counted_once_for_each_transaction(databases: tuple[Database, Database]) -> None:
    """The number is kept in the database, where other processes read it."""
    ours, theirs = databases

    async def count() -> int:
        async with ours.read() as session:
            return int((await session.execute(text("PRAGMA user_version"))).scalar_one())

    before = await count()
    await commit(theirs, WORK, "job_1", urgent=False)
    await commit(theirs, "predictions", urgent=True)
    assert await count() == before + 1


async def test_commits_that_count_no_signals_are_told_of_late(databases: tuple[Database, Database]) -> None:
    """A worker of an earlier version does not count them."""
    ours, theirs = databases
    with ours.watch(WORK) as ordinary:
        await quiet(ordinary)
        async with theirs.write() as session:
            await change(session)
        assert not await ordinary.wait(0.3)
        assert await ordinary.wait(listening.UNCOUNTED_SECONDS + 5.0)
