"""Signals on SQLite: urgent watches hear of every commit at once, others only of commits that signal something else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import sqlite
from app.db.engine import Database, open_database
from app.db.listeners import sqlite as listeners
from app.db.rows import SignalRow
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


async def test_signals_are_kept_for_a_while(
    databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has not read some that are gone wakes all its watches."""
    monkeypatch.setattr(sqlite, "_SIGNALS_KEPT", 4)
    monkeypatch.setattr(listeners, "POLL_SECONDS", 0.5)
    ours, theirs = databases
    with ours.watch("job_1") as other:
        await asyncio.sleep(0.6)
        other.take()
        await commit(theirs, "job_2", urgent=False)
        assert not await other.wait(1.0)
        for _ in range(12):
            await commit(theirs, "job_2", urgent=False)
        assert await other.wait(5.0)
    async with ours.read() as session:
        assert await session.scalar(select(func.count()).select_from(SignalRow)) in range(4, 9)


async def test_urgent_signals_are_not_written(databases: tuple[Database, Database]) -> None:
    ours, theirs = databases
    await commit(theirs, WORK, "job_1", urgent=False)
    await commit(theirs, "predictions", urgent=True)
    async with ours.read() as session:
        assert (await session.scalars(select(SignalRow.names))).all() == ["job_1 work"]


async def test_a_signal_of_a_process_of_the_previous_version_wakes_all(databases: tuple[Database, Database]) -> None:
    """It counts its signals in `user_version` and names none."""
    ours, theirs = databases
    with ours.watch(WORK) as ordinary:
        await quiet(ordinary)
        async with theirs.write() as session:
            await change(session)
        assert not await ordinary.wait(0.3)
        async with theirs.write() as session:
            await session.execute(text("PRAGMA user_version=1"))
        assert await ordinary.wait(5.0)
